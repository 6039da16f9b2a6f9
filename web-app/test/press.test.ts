import assert from "node:assert/strict";
import { test } from "node:test";
import { HOLD_MS, Press } from "../src/press";

test("a tap starts and a second tap stops", () => {
  const press = new Press();
  assert.equal(press.press(0, false), "start");
  assert.equal(press.lift(HOLD_MS - 1), null);
  assert.equal(press.press(1000, true), null);
  assert.equal(press.lift(1050), "stop");
});

test("a hold talks until it is let go", () => {
  const press = new Press();
  assert.equal(press.press(0, false), "start");
  assert.equal(press.holding(HOLD_MS + 1), true);
  assert.equal(press.lift(HOLD_MS + 1), "stop");
});

test("a key that repeats starts once", () => {
  const press = new Press();
  assert.equal(press.press(0, false), "start");
  assert.equal(press.press(30, true), null);
  assert.equal(press.lift(900), "stop");
});

test("coming up without going down means nothing", () => {
  assert.equal(new Press().lift(5), null);
});

test("a long press while talking stops as a tap does", () => {
  const press = new Press();
  press.press(0, true);
  assert.equal(press.holding(2000), false);
  assert.equal(press.lift(2000), "stop");
});
