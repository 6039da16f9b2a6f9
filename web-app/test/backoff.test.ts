import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../src/backoff";

test("doubles up to its bound and starts over after success", () => {
  const backoff = new Backoff(500, 5000, () => 0);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [500, 1000, 2000, 4000, 5000, 5000]);
  backoff.reset();
  assert.equal(backoff.next(), 500);
});

test("chance shortens a wait by a fifth at most and never below the first", () => {
  const backoff = new Backoff(500, 5000, () => 1);
  assert.deepEqual([backoff.next(), backoff.next()], [500, 800]);
});
