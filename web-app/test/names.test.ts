import assert from "node:assert/strict";
import { test } from "node:test";
import { isSame, shortName } from "../src/names";
import { called, link } from "../src/views/people";
import { callers, summary } from "../src/views/recording-row";

const ID = "766f68f7-05c2-4d5d-9d0a-8f3b5d1f6a10";

test("a peer has one name, in the list of people and in that of recordings", () => {
  assert.match(shortName(ID), /^[A-Z][a-z]+ [A-Z][a-z]+$/);
  assert.equal(shortName(ID), shortName("766f68f7"));
  const names = new Set(Array.from({ length: 64 }, (_, at) => shortName((at * 0x3a9f1c7).toString(16).padStart(8, "0"))));
  assert.ok(names.size > 50, `${names.size} of 64 differ`);
});

test("the service gives the same names in its log and lists", () => {
  // The same pairs stand in src/names.rs.
  const pairs = { "766f68f7": "Azure Beaver", "00000000": "Copper Wolf", ffffffff: "Copper Owl", "0123456789": "Silver Finch" };
  for (const [id, name] of Object.entries(pairs)) assert.equal(shortName(id), name);
});

test("only this page's own peer is you", () => {
  assert.equal(isSame(ID, "766f68f7"), true);
  assert.equal(isSame(ID, "766f68f8"), false);
  assert.equal(isSame(null, "766f68f7"), false);
});

test("people are called by what tells them apart", () => {
  const session = { id: ID, token: null, own: true };
  assert.equal(called(session, true, true), "You");
  assert.equal(called(session, false, true), shortName(ID));
  assert.equal(called(session, false, false), "You, in another window");
  assert.equal(called({ ...session, own: false }, false, false), shortName(ID));
  assert.equal(called({ ...session, token: "camera wall" }, false, false), "Program “camera wall”");
});

test("a recording says how long, how large and who, in words", () => {
  const words = (seconds: number | null, bytes: number, peer: string | null, here = false, cutOff = false) =>
    summary({ seconds, bytes, cutOff }, callers(peer === null ? [] : [peer], () => here)).replaceAll("\u00a0", " ");
  assert.equal(words(6.2, 734_003, null), "6 s · 0.7 MB");
  assert.equal(words(83, 12_400_000, "766f68f7"), `1 min 23 s · 12 MB · ${shortName(ID)} talked`);
  assert.equal(words(3900, 2_100_000_000, "766f68f7", true), "1 h 5 min · 2.1 GB · you talked");
  assert.equal(words(null, 0, null), "length unknown · 0.0 MB");
  assert.equal(words(6.2, 734_003, null, false, true), "6 s · 0.7 MB · cut off when the device stopped");
});

test("a recording names all who talked, as many as there is room for", () => {
  const who = (...talkers: string[]) => {
    const names = callers(talkers, (peer) => isSame(ID, peer));
    return summary({ seconds: 1, bytes: 0, cutOff: false }, names).replaceAll("\u00a0", " ").replace("1 s · 0.0 MB · ", "");
  };
  const [one, two, three] = ["00000000", "ffffffff", "0123456789"].map(shortName);
  assert.equal(who("00000000", "ffffffff"), `${one} and ${two} talked`);
  assert.equal(who("00000000", "766f68f7", "01234567"), `${one}, you and ${three} talked`);
  assert.equal(who("00000000", "ffffffff", "01234567", "766f68f7", "89abcdef"), `${one}, ${two} and 3 others talked`);
  assert.equal(who("00000000", "00000000"), `${one} talked`);
});

test("how the way to a viewer does is said with units, and only what is known", () => {
  const unknown = { width: null, height: null, deliveredKbits: null, lostPercent: null, roundTripMs: null, captureToScreenMs: null };
  assert.deepEqual(link(unknown), []);
  const known = { width: 640, height: 360, deliveredKbits: 480, lostPercent: 2.5, roundTripMs: 41.6, captureToScreenMs: 86 };
  assert.equal(link(known).join(" · ").replaceAll("\u00a0", " "), "640 × 360 · 0.5 Mbit/s · 2.5 % lost · round trip 42 ms · delay 86 ms");
  assert.deepEqual(link({ ...unknown, lostPercent: 0, roundTripMs: 0.3 }), ["round\u00a0trip\u00a0under\u00a01\u00a0ms"]);
});
