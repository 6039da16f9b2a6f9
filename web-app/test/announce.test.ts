import assert from "node:assert/strict";
import { test } from "node:test";
import { room } from "../src/views/announce";

test("the room for a text is counted when it grows short, and what is too long is not cut", () => {
  assert.deepEqual(room("Hello"), { words: "", over: false });
  assert.deepEqual(room("x".repeat(1000)), { words: "1000 of 1000 characters", over: false });
  assert.deepEqual(room(` ${"x".repeat(950)} `), { words: "950 of 1000 characters", over: false });
  assert.equal(room("x".repeat(1001)).words, "1 character too long: at most 1000 can be said at once.");
  assert.equal(room("x".repeat(1005)).over, true);
});

test("characters are counted, not their halves", () => {
  assert.equal(room("\u{1f98a}".repeat(1000)).over, false);
});
