import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, dated, day, elapsed, since } from "../src/time";

const at = (hours: number, minutes: number, date = 28) => new Date(2026, 10, date, hours, minutes, 7).getTime();

test("a time is one of 24 hours, also where people count to twelve", () => {
  assert.equal(clock(at(17, 53), "en-US"), "17:53:07");
  assert.equal(clock(at(0, 5), "en-US"), "00:05:07"); // not 24:05
  assert.equal(clock(at(12, 0), "en-GB"), "12:00:07");
  assert.match(dated(at(17, 53), "en-US"), /^Nov 28, 2026, 17:53:07$/);
  assert.equal(day(at(17, 53), "en-US"), "Nov 28, 2026");
});

test("what began on another day has that day", () => {
  assert.equal(since(at(5, 3), at(17, 53), "en-US"), "05:03");
  assert.equal(since(at(17, 53, 27), at(9, 0), "en-US"), "Nov 27, 2026, 17:53");
});

test("how long it runs is shown in whole seconds that have passed, with hours where there are some", () => {
  const shown = [0, 999, 1000, 61_000, 599_999, 3_599_999, 3_600_000, 36_061_000, -5].map(elapsed);
  assert.deepEqual(shown, ["0:00", "0:00", "0:01", "1:01", "9:59", "59:59", "1:00:00", "10:01:01", "0:00"]);
});
