import assert from "node:assert/strict";
import { test } from "node:test";
import { words } from "../src/views/quality";

test("the rung has a word, and who chose it", () => {
  assert.equal(words({ choice: "auto", rung: 0, rungs: 3 }), "High, automatic");
  assert.equal(words({ choice: "auto", rung: 1, rungs: 3 }), "Medium, automatic");
  assert.equal(words({ choice: "low", rung: 2, rungs: 3 }), "Low");
  assert.equal(words({ choice: "auto", rung: 1, rungs: 2 }), "Low, automatic");
});

test("without a ladder there is only the whole picture", () => {
  assert.equal(words({ choice: "auto", rung: 0, rungs: 1 }), "High");
});
