import assert from "node:assert/strict";
import { test } from "node:test";
import { working } from "../src/views/device";

test("a high load is explained where it stands", () => {
  assert.equal(working([3, 2.5, 2], 2), "3.00  2.50  2.00 on 2 processors");
  assert.equal(working([3.01, 2.5, 2], 2), "3.01  2.50  2.00 on 2 processors; some work has to wait");
  assert.equal(working([0.5, 9, 9], 1), "0.50  9.00  9.00 on 1 processor");
});
