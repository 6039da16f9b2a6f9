import assert from "node:assert/strict";
import { test } from "node:test";
import type { Role } from "../src/generated/Role";
import type { Status } from "../src/generated/Status";
import { putOut, show, type Facts } from "../src/state";

function status(role: Role | null, some: Partial<Status> = {}): Status {
  return {
    version: "1", name: "Door", access: { role, open: false, needsSetup: false }, deviceId: "device", iceServers: [],
    video: true, audio: true, audioMuted: false, inboundVideo: true, talkSound: "played", ...some,
  };
}

function facts(some: Partial<Facts> = {}): Facts {
  return {
    status: status("talker"), online: true, signalling: true, unanswered: false, turnedAway: null, call: "media", failure: null, picture: true, wasLive: true,
    turn: "off", talk: { you: "idle", busy: false, place: 0, waiting: 0, version: 0, revokedBy: null }, called: false, camera: false, notice: null, ended: null, faults: {}, ...some,
  };
}

test("live only with a frame on the screen", () => {
  assert.equal(show(facts()).state, "live");
  assert.equal(show(facts({ picture: false, wasLive: false })).state, "connecting");
  assert.equal(show(facts({ picture: false, status: status("viewer", { video: false }) })).state, "live");
});

test("a call that worked reconnects, one that never did connects", () => {
  assert.equal(show(facts({ call: "stalled" })).state, "reconnecting");
  assert.equal(show(facts({ call: "lost", wasLive: false })).state, "connecting");
});

test("a failure stays through the next try and says what to look at", () => {
  const shown = show(facts({ call: "starting", picture: false, failure: { kind: "unreachable" } }));
  assert.equal(shown.state, "failed");
  assert.match(shown.detail, /subnet.*VPN.*firewall.*TURN/s);
});

test("what the device says about a failure is shown as it is", () => {
  assert.equal(show(facts({ call: "lost", failure: { kind: "device", message: "No answer." } })).detail, "No answer.");
});

test("without signalling a failed call is a missing service", () => {
  assert.equal(show(facts({ call: "idle", signalling: false, failure: { kind: "silent" } })).state, "reconnecting");
});

test("a device without a free place says so and that the call comes by itself", () => {
  const failure = { kind: "declined", words: "too many viewers (2); try again when somebody has left." } as const;
  const shown = show(facts({ call: "lost", picture: false, failure }));
  assert.deepEqual([shown.state, shown.headline], ["failed", "No place free"]);
  assert.match(shown.detail, /as many viewers as it serves \(2\).*by itself/);
  const away = show(facts({ signalling: false, call: "idle", picture: false, wasLive: false, unanswered: true, turnedAway: "too many peers (64) are connected; try again when one has left" }));
  assert.deepEqual([away.state, away.headline], ["connecting", "No place free"]);
  assert.match(away.detail, /\(64\).*by itself/);
});

test("who stood in line is told that he is on air, unless nobody hears him", () => {
  const called = show(facts({ turn: "sending", called: true }));
  assert.deepEqual([called.called, called.headline, called.label], [true, "You are on air", "Talking"]);
  assert.equal(show(facts({ turn: "sending" })).headline, "Talking");
  assert.equal(show(facts({ turn: "off", called: true })).called, false);
  const unheard = show(facts({ turn: "sending", called: true, status: status("talker", { talkSound: "muted" }) }));
  assert.deepEqual([unheard.called, unheard.headline], [false, "You are not heard"]);
});

test("who starts to talk is not told to wait, who stands in line is", () => {
  const label = (turn: Facts["turn"]) => show(facts({ turn })).label;
  assert.deepEqual((["microphone", "asking", "waiting", "starting", "sending"] as const).map(label), ["Starting", "Starting", "Waiting", "Starting", "Talking"]);
  assert.equal(show(facts({ turn: "starting" })).press, "Press to cancel");
});

test("the talker reads that it is about him, the others that it is about the talker", () => {
  const faults = { talk: "the talker is not heard: no speaker is connected" };
  const talker = show(facts({ turn: "sending", faults }));
  assert.deepEqual([talker.headline, talker.detail, talker.warn], ["You are not heard", "No speaker is connected.", true]);
  const both = show(facts({ turn: "sending", faults: { video: "no camera is there", ...faults } }));
  assert.deepEqual([both.headline, both.detail], ["You are not heard", "No speaker is connected. No camera is there."]);
  const busy = { you: "idle", busy: true, place: 0, waiting: 0, version: 0, revokedBy: null } as const;
  assert.equal(show(facts({ talk: busy, faults })).detail, "The talker is not heard: no speaker is connected.");
});

test("who is muted by the owner, or played nowhere, is not told that he is heard", () => {
  const talking = (talkSound: Status["talkSound"], camera = false) => show(facts({ turn: "sending", camera, status: status("talker", { talkSound }) }));
  assert.deepEqual([talking("muted").headline, talking("muted").detail, talking("muted").warn], ["You are not heard", "The device's owner has muted talkers.", true]);
  const seen = talking("discarded", true);
  assert.deepEqual([seen.headline, seen.detail], ["You are seen, but not heard", "This device plays no sound."]);
  assert.equal(talking("played").detail, "The device hears you.");
});

test("nothing says that he talks while nobody hears him", () => {
  const faults = { talk: "the talker is not heard: no speaker is connected" };
  const told = (some: Partial<Facts>) => (({ talk, label, press, unheard }) => [talk, label, press, unheard])(show(facts({ turn: "sending", ...some })));
  assert.deepEqual(told({}), ["talking", "Talking", "Press to stop", false]);
  assert.deepEqual(told({ faults }), ["talking", "Not heard", "Press to stop", true]);
  assert.deepEqual(told({ status: status("talker", { talkSound: "muted" }) }), ["talking", "Not heard", "Press to stop", true]);
  assert.equal(show(facts({ faults })).unheard, false); // nobody talks
  assert.equal(show(facts({ faults: { video: "no camera is there" }, turn: "sending" })).unheard, false);
});

test("everybody is told that the device's own sound is muted, whatever else goes on", () => {
  const muted = (some: Partial<Facts> = {}, audio = true) => show(facts({ status: status("viewer", { audioMuted: true, audio }), ...some }));
  assert.deepEqual([muted().headline, muted().detail, muted().warn], ["Live", "The device's sound is muted.", false]);
  assert.equal(muted({ turn: "sending" }).detail, "The device hears you. The device's sound is muted.");
  assert.equal(muted({ faults: { video: "no camera is there" } }).detail, "No camera is there. The device's sound is muted.");
  const busy = { you: "idle", busy: true, place: 0, waiting: 1, version: 0, revokedBy: null } as const;
  assert.equal(muted({ talk: busy }).detail, "1 in line. The device's sound is muted.");
  assert.equal(muted({}, false).detail, ""); // it sends none that could be muted
});

test("a fault of the talk is none once nobody talks", () => {
  const shown = show(facts({ faults: { talk: "the talker is not heard: no speaker is connected" } }));
  assert.deepEqual([shown.headline, shown.detail, shown.warn], ["Live", "", false]);
});

test("busy names it, and only the owner may take over", () => {
  const talk = { you: "idle", busy: true, place: 0, waiting: 0, version: 0, revokedBy: null } as const;
  const talker = show(facts({ talk }));
  assert.equal(talker.talk, "busy");
  assert.equal(talker.headline, "Busy: someone is talking");
  assert.equal(talker.canTakeOver, false);
  assert.equal(show(facts({ talk, status: status("owner") })).canTakeOver, true);
});

test("talking is shown only once the device has the sound", () => {
  assert.equal(show(facts({ turn: "starting" })).talk, "waiting");
  assert.equal(show(facts({ turn: "sending" })).talk, "talking");
});

test("a viewer has no talk control and no camera", () => {
  const shown = show(facts({ status: status("viewer") }));
  assert.deepEqual([shown.watchOnly, shown.canTalk, shown.hasCamera], [true, false, false]);
});

test("a notice and a fault show only while the call is live", () => {
  const notice = { headline: "Microphone not allowed", detail: "Allow it." };
  assert.equal(show(facts({ notice })).headline, "Microphone not allowed");
  assert.equal(show(facts({ notice, call: "stalled" })).headline, "Reconnecting");
  assert.equal(show(facts({ faults: { video: "No camera." } })).detail, "No camera.");
  const headline = (faults: Facts["faults"]) => show(facts({ faults })).headline;
  assert.deepEqual([headline({ video: "x", audio: "y" }), headline({ audio: "y" }), headline({ recording: "z" })], ["No picture", "No sound", "Live"]);
});

test("who talks is told that others would like to", () => {
  const detail = (waiting: number) => show(facts({ turn: "sending", talk: { you: "talking", busy: false, place: 0, waiting, version: 1, revokedBy: null } })).detail;
  assert.equal(detail(0), "The device hears you.");
  assert.equal(detail(1), "One person waits for the turn. The device hears you.");
  assert.match(detail(2), /^2 people wait/);
});

test("who is put before the sign-in is told why, who was there already is not", () => {
  assert.match(putOut({ role: "owner", open: true, needsSetup: false }) ?? "", /has a password from now on/);
  assert.match(putOut({ role: "talker", open: false, needsSetup: false }) ?? "", /sign-in has ended/);
  assert.match(putOut({ role: null, open: false, needsSetup: true }) ?? "", /has a password from now on/);
  assert.equal(putOut({ role: null, open: false, needsSetup: false }), null);
  assert.equal(putOut(null), null);
});
