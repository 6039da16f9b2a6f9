/**
 * Joins the parts: the call (client), the turn, the service (api), the views. Enters: their events.
 * Leaves: one set of facts, shown after every change through state.ts. Holds no media logic of its own.
 */
import * as api from "./api";
import { Backoff } from "./backoff";
import { followEscape } from "./escape";
import { callToTheAir } from "./called";
import * as capture from "./capture";
import { Client } from "./client";
import type { Access } from "./generated/Access";
import type { Recording } from "./generated/Recording";
import type { Status } from "./generated/Status";
import type { TalkState } from "./generated/TalkState";
import { isSame, shortName } from "./names";
import type { Owner } from "./owner";
import { plain } from "./sentences";
import { putOut, show, type Facts, type Notice } from "./state";
import { Turn } from "./turn";
import { Announce } from "./views/announce";
import { element } from "./views/elements";
import { Panel } from "./views/panel";
import { QualityChoice } from "./views/quality";
import { Recorder } from "./views/recorder";
import { Recordings } from "./views/recordings";
import { SignIn } from "./views/sign-in";
import { Talkback } from "./views/talkback";
import { canChooseSpeaker, Viewer } from "./views/viewer";

const NOBODY: TalkState = { you: "idle", busy: false, place: 0, waiting: 0, version: 0, revokedBy: null };
const NOTICE_MS = 15_000;
// So often a page before the sign-in asks whether it may go on.
const DOOR_MS = 10_000;
// After so long without an answer the page says so; sooner where picture and sound stand still already.
const SLOW_MS = 2000;
const STALLED_MS = 300;
// So long a recording that another owner asked for at the same moment may take to begin.
const BEGINS_MS = 5000;
const ASKED_TWICE = /asked for once more/;
// So long the page says that somebody out of the line is on air.
const CALLED_MS = 8000;
// Beside the owner's panel the call has less than 900 pixels then, or nothing: the settings would cover what is in its middle.
const CROWDED = matchMedia("(width < 1340px)");

const app = element("app", HTMLElement);
const facts: Facts = {
  status: null,
  online: navigator.onLine,
  signalling: false,
  unanswered: false,
  turnedAway: null,
  call: "idle",
  failure: null,
  picture: false,
  wasLive: false,
  turn: "off",
  talk: NOBODY,
  called: false,
  camera: false,
  notice: null,
  ended: null,
  faults: {},
};

const scheme = location.protocol === "https:" ? "wss" : "ws";
const client = new Client(`${scheme}://${location.host}/signalling`, {
  connected(peerId) {
    turn.peer = peerId;
    qualityAsked = false;
    change({ signalling: true, unanswered: false, turnedAway: null });
    answersAgain();
    panel.showOwnName(shortName(peerId));
    listen(peerId);
    owner?.reconnected();
  },
  disconnected() {
    stopListening();
    turn.lostSignalling();
    change({ signalling: false, unanswered: true, turnedAway: null, talk: NOBODY, faults: {} });
    panel.showViewers(0);
    panel.showOwnName(null);
    recorder.show(null); // known no longer; the next connection says it anew
    void refresh();
  },
  turnedAway: (words) => change({ turnedAway: words }),
  call(call, failure) {
    const back = call === "media" && facts.call !== "media";
    change({ call, failure });
    if (back) answersAgain();
  },
  stream: (stream) => viewer.setStream(stream),
  shown(latency) {
    // Behind other windows nothing is on a screen.
    if (turn.peer === null || document.visibilityState !== "visible") return;
    api.tellLatency(turn.peer, latency).catch((error: unknown) => console.debug("the device did not take the figure:", error));
  },
  talk: (phase) => turn.media(phase),
});

const turn = new Turn(client, blankVideo, {
  phase(phase) {
    const called = phase === "sending" && stoodInLine;
    stoodInLine = phase === "waiting" || (phase === "starting" && stoodInLine);
    clearTimeout(calledTimer);
    change({ turn: phase, called });
    if (called) {
      calledTimer = setTimeout(() => change({ called: false }), CALLED_MS);
      callToTheAir(speaker).catch((error: unknown) => console.debug("no sound for the turn that has come:", error));
    }
    if (phase === "asking") void showChoices(); // names are known from the first permission on
  },
  talk: (talk) => change({ talk }),
  notice: (notice) => showNotice(notice),
  camera(track) {
    talkback.showCamera(track);
    change({ camera: track !== null });
  },
});

const viewer = new Viewer({
  picture: (picture) => change({ picture }),
  sound: (sound) => (app.dataset["sound"] = sound),
});

const talkback = new Talkback({
  begin() {
    viewer.unblock();
    void turn.begin(false);
  },
  end: () => turn.end(),
  takeOver: () => void turn.begin(true),
  toggleCamera: () => void turn.toggleCamera(),
  chooseMicrophone: (deviceId) => void turn.useMicrophone(deviceId),
  chooseSpeaker(deviceId) {
    speaker = deviceId;
    viewer.useSpeaker(deviceId).catch((error: Error) => {
      change({ notice: { headline: "The speaker cannot be used", detail: error.message } });
    });
  },
});

const panel = new Panel({
  figures: () => client.stats(),
  settingsOpened() {
    if (CROWDED.matches && !document.fullscreenElement) owner?.close();
    announce.opened();
    void showChoices();
    void showClips();
  },
  async signOut() {
    leaving = true;
    turn.end();
    client.close();
    try {
      await api.signOut();
    } catch (error) {
      leaving = false; // the device did not answer: the page goes on as it was
      throw error;
    } finally {
      void refresh();
    }
  },
});

const recorder = new Recorder({
  passed: (runs) => recordings.passed(runs),
  async record(on) {
    const unanswered: Notice = { headline: "The device does not answer", detail: on ? "Nothing is recorded." : "It was not told to stop.", away: true };
    if (!facts.signalling) return showNotice(unanswered);
    const slow = setTimeout(() => showNotice(unanswered), facts.call === "stalled" ? STALLED_MS : SLOW_MS);
    try {
      showRecording(await api.record(on));
      if (facts.notice === unanswered) showNotice(null);
    } catch (error) {
      if (error instanceof api.ApiFailure && error.status === 0) return showNotice(unanswered);
      // Two owners at the same moment: the recording that the other one gets is this one's, too.
      if (on && error instanceof api.ApiFailure && ASKED_TWICE.test(error.message)) await recorder.begins(BEGINS_MS);
      if (on === recorder.isOn) return;
      const detail = plain(error instanceof Error ? error.message : String(error));
      showNotice((notRecorded = { headline: on ? "Nothing is recorded" : "Still recording", detail }));
    } finally {
      clearTimeout(slow);
    }
  },
});

const recordings = new Recordings({
  list: () => api.recordings(),
  remove: (name) => api.removeRecording(name),
  address: (name) => api.recordingAddress(name),
  exists: (address) => api.exists(address),
  isGone: (refused) => refused instanceof api.ApiFailure && refused.status === 404,
  runs: () => recorder.runs,
  plays: (on) => viewer.hush(on),
  isHere: (peer) => isSame(turn.peer, peer),
});

const announce = new Announce({
  say: (text) => api.say(text),
  play: (clip) => api.playClip(clip),
  stop: () => api.endAnnouncements(),
});

const ownerToggle = element("owner-toggle", HTMLButtonElement);
let owner: Owner | null = null;
ownerToggle.addEventListener("click", () => void toggleOwner());
CROWDED.addEventListener("change", () => {
  if (CROWDED.matches && owner?.isOpen) panel.hideSettings();
});

/** Most who open this page never see the panel: its code comes when it is opened. */
async function toggleOwner(): Promise<void> {
  try {
    owner ??= new (await import("./owner")).Owner(ownerToggle, () => turn.peer, () => facts.status?.access.open ?? false, () => void refresh());
    if (owner.isOpen) return owner.close();
    if (CROWDED.matches) panel.hideSettings();
    owner.open();
  } catch {
    change({ notice: { headline: "The panel did not open", detail: "The device does not answer; try again in a moment." } });
  }
}

element("call-again", HTMLButtonElement).addEventListener("click", () => {
  change({ ended: null });
  void refresh();
});

const quality = new QualityChoice((wanted) => {
  const peer = turn.peer;
  if (peer === null) return; // it is asked for when the picture comes
  api.chooseQuality(peer, wanted).catch((error: Error) => {
    change({ notice: { headline: "The quality could not be changed", detail: error.message } });
  });
});

const signIn = new SignIn({
  signIn: (password) => enter("sign-in", api.signIn(password)),
  setUp: (code, password) => enter("setup", api.setUp(code, password)),
  waitAfter: (refused) => (refused instanceof api.ApiFailure && refused.code === "tooManyAttempts" ? refused.retryAfter : null),
});

/** @throws the refusal, unless what is asked for at this door is another thing by now, or nothing */
async function enter(view: "sign-in" | "setup", asked: Promise<Access>): Promise<void> {
  try {
    await asked;
  } catch (refused) {
    await refresh();
    if (app.dataset["view"] === view) throw refused;
    return;
  }
  await refresh();
}

// --- facts in, page out ---

function change(some: Partial<Facts>): void {
  Object.assign(facts, some);
  const shown = show(facts);
  if (shown.state === "live") facts.wasLive = true;
  app.dataset["state"] = shown.state;
  app.dataset["talk"] = shown.talk;
  app.toggleAttribute("data-unheard", shown.unheard);
  app.toggleAttribute("data-called", shown.called);
  // In the tab's name, too: who waits looks elsewhere.
  if (facts.status) document.title = (shown.talk !== "talking" ? "" : shown.unheard ? "Not heard · " : "On air · ") + facts.status.name;
  viewer.show(shown);
  talkback.show(shown, turn.wanted);
}

function showNotice(notice: Notice | null): void {
  clearTimeout(noticeTimer);
  if (notice) noticeTimer = setTimeout(() => change({ notice: null }), NOTICE_MS);
  change({ notice });
}

/** What was said while the device was away is no longer so. */
function answersAgain(): void {
  if (facts.notice !== null && (facts.notice.away || facts.notice === notRecorded)) showNotice(null);
}

/** What the service says outdates what was said of the last wish to record or to stop. */
function showRecording(recording: Recording): void {
  const changed = recording.on !== recorder.isOn;
  recorder.show(recording);
  if (changed) answersAgain();
}

function useStatus(status: Status): void {
  // The service was updated while this page was open; its page may be a newer one, too.
  if (facts.status && facts.status.version !== status.version && !turn.wanted) return location.reload();

  const { access } = status;
  const before = facts.status?.access ?? null;
  turn.hasCamera = status.inboundVideo;
  change({ status });
  element("name", HTMLElement).textContent = status.name;
  for (const name of document.querySelectorAll(".device-name")) name.textContent = status.name;
  recorder.showOwner(access.role === "owner");
  recordings.showOwner(access.role === "owner");
  announce.showTalker(access.role === "owner" || access.role === "talker");
  panel.showSignOut(access.role !== null && !access.open);
  ownerToggle.hidden = access.role !== "owner";
  if (access.role !== "owner") owner?.close();

  const view = access.role !== null ? "call" : access.needsSetup ? "setup" : "sign-in";
  if (app.dataset["view"] !== view) {
    app.dataset["view"] = view;
    element("call", HTMLElement).hidden = view !== "call";
    signIn.show(view, facts.ended ?? (leaving ? null : putOut(before)));
    leaving = false;
    if (view !== "call") change({ ended: null });
  }
  if (view === "call") {
    client.watch(status.deviceId, status.iceServers);
    if (!started && facts.ended === null) start();
  } else {
    stop();
  }
}

// --- the service ---

let noticeTimer: ReturnType<typeof setTimeout> | undefined;
let calledTimer: ReturnType<typeof setTimeout> | undefined;
// What was said of the last wish to record or to stop.
let notRecorded: Notice | null = null;
// The turn that is coming was waited for.
let stoodInLine = false;
// The chosen speaker; empty: the browser's default.
let speaker = "";
let started = false;
// The person signs out: nobody has to say why the call ends.
let leaving = false;
// Whether this connection has been told the person's choice.
let qualityAsked = false;
// Counts the statuses that were asked for and those that came as events: an answer is old once there is a later one of either.
let statuses = 0;
let stopEvents = () => {};
let eventsTimer: ReturnType<typeof setTimeout> | undefined;
let statusTimer: ReturnType<typeof setTimeout> | undefined;
const eventsBackoff = new Backoff(500, 5000);
const statusBackoff = new Backoff(500, 5000);

function start(): void {
  started = true;
  client.connect();
}

function stop(): void {
  if (!started) return;
  started = false;
  facts.wasLive = false;
  client.close();
}

/** The device ended the call by somebody's will: the page does not come back by itself. */
function end(message: string): void {
  turn.end();
  change({ ended: message });
  stop();
  void refresh(); // the sign-in may have ended with it
}

async function refresh(): Promise<void> {
  clearTimeout(statusTimer);
  const asked = ++statuses;
  try {
    const status = await api.status();
    statusBackoff.reset();
    if (asked !== statuses) return;
    useStatus(status);
    // Before the door nothing is told: the last password may go, or another person may set the device up.
    if (app.dataset["view"] !== "call") statusTimer = setTimeout(() => void refresh(), DOOR_MS);
  } catch {
    // Until signalling is open, its own retries ask again; without it, nobody else does.
    if (!started) statusTimer = setTimeout(() => void refresh(), statusBackoff.next());
  }
}

function listen(peerId: string): void {
  stopListening();
  change({ faults: {} }); // those that last are told again; the end of the others was not heard
  stopEvents = api.events(peerId, heard, () => {
    eventsTimer = setTimeout(() => listen(peerId), eventsBackoff.next());
    void refresh(); // the sign-in may have ended
  });
}

function stopListening(): void {
  clearTimeout(eventsTimer);
  stopEvents();
  stopEvents = () => {};
}

function heard(event: api.ServiceEvent): void {
  eventsBackoff.reset();
  switch (event.type) {
    case "status":
      statuses += 1;
      return useStatus(event.status);
    case "talk":
      owner?.peopleChanged();
      return turn.heard(event.talk);
    case "quality":
      quality.show(event.state);
      // A new connection begins with the automatic choice.
      if (event.state.choice !== quality.wanted && !qualityAsked && turn.peer !== null) {
        void api.chooseQuality(turn.peer, quality.wanted).catch(() => (qualityAsked = false));
      }
      qualityAsked = true;
      return;
    case "viewers":
      owner?.peopleChanged();
      return panel.showViewers(event.count);
    case "recording":
      showRecording(event.recording);
      return recordings.changed();
    case "fault": {
      const faults = { ...facts.faults };
      delete faults[event.part];
      if (event.message !== null) faults[event.part] = event.message;
      return change({ faults });
    }
    case "callFailed":
      return client.failed(event.message);
    case "talkFailed":
      return turn.failed(event.message);
    case "ended":
      return end(event.message);
    case "sessions":
      return owner?.peopleChanged();
    case "steering":
      return owner?.steered();
  }
}

async function showChoices(): Promise<void> {
  const { microphones, speakers } = await capture.choices();
  talkback.showChoices(microphones, speakers, canChooseSpeaker());
}

async function showClips(): Promise<void> {
  const role = facts.status?.access.role;
  if (role !== "owner" && role !== "talker") return;
  try {
    announce.showClips(await api.clips());
  } catch (error) {
    console.warn("no list of clips:", error);
  }
}

/** Whether the service said with the page that it knows nobody in this browser: signalling would only be refused. */
function doorIsShut(): boolean {
  const [page] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return page?.serverTiming?.some(({ name, description }) => name === "door" && description === "shut") ?? false;
}

/** A track without frames: a canvas that nobody draws on. */
function blankVideo(): MediaStreamTrack {
  const canvas = document.createElement("canvas");
  canvas.getContext("2d"); // Firefox captures only a canvas that has a context
  const track = canvas.captureStream(0).getVideoTracks()[0];
  if (!track) throw new Error("the browser made no video track from a canvas");
  return track;
}

addEventListener("online", () => {
  change({ online: true });
  if (started) client.connect();
  else void refresh();
});
addEventListener("offline", () => change({ online: false }));
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && started) client.connect();
});
addEventListener("focus", () => {
  if (app.dataset["view"] !== "call") void refresh();
  else recordings.changed(); // another owner may have deleted some
});
capture.onDevicesChanged(() => void showChoices());
followEscape();

if (!doorIsShut()) start();
void refresh();
change({});
