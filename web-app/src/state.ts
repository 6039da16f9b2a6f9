/**
 * The one state line. Enters: every fact the page knows. Leaves: what it tells the person and which
 * controls make sense. Pure: no DOM, no clock, no network; whoever changes a fact asks again.
 */
import type { Access } from "./generated/Access";
import type { Status } from "./generated/Status";
import type { TalkState } from "./generated/TalkState";
import type { CallFailure, CallPhase } from "./client";
import { declined, fault, sentence } from "./sentences";
import type { TurnPhase } from "./turn";

export interface Facts {
  /** Null until the service has answered for the first time. */
  status: Status | null;
  /** What the browser says about the network. */
  online: boolean;
  /** The signalling WebSocket is open. */
  signalling: boolean;
  /** The last try to open it failed. */
  unanswered: boolean;
  /** Why the service did not take the last try, in its words; null: it did not say. */
  turnedAway: string | null;
  call: CallPhase;
  /** Why the last attempt ended; stays until media flows. A sentence when the device said why. */
  failure: CallFailure | null;
  /** A frame of the call under way is on the screen. */
  picture: boolean;
  /** There was a working call since the page was opened. */
  wasLive: boolean;
  turn: TurnPhase;
  talk: TalkState;
  /** The turn came to this person out of the line, a moment ago. */
  called: boolean;
  /** The camera is on. */
  camera: boolean;
  /** A sentence about the last talk attempt, such as a refused microphone; null when there is none. */
  notice: Notice | null;
  /** A sentence of the device that ended the call by somebody's will; null: it did not, or the person called again. */
  ended: string | null;
  /** Faults the device reports, by part. */
  faults: Readonly<Record<string, string>>;
}

export interface Notice {
  headline: string;
  detail: string;
  /** It says that the device does not answer: shown while the call is gone, too. */
  away?: boolean;
}

export type CallState = "connecting" | "live" | "reconnecting" | "failed" | "ended";
export type TalkShown = "idle" | "waiting" | "talking" | "busy";

export interface Shown {
  state: CallState;
  talk: TalkShown;
  /** What stands on the Talk control. */
  label: string;
  /** What a press on it does now; empty where that depends on how it is pressed. */
  press: string;
  /** This person talks, and the device plays none of it. */
  unheard: boolean;
  headline: string;
  /** Empty when the headline says it all. */
  detail: string;
  /** Draws attention: something needs the person's eye. */
  warn: boolean;
  /** Who stood in line is on air, and may not have noticed. */
  called: boolean;
  /** The role does not allow talking. */
  watchOnly: boolean;
  /** Talking is possible now. */
  canTalk: boolean;
  canTakeOver: boolean;
  /** The device takes a picture. */
  hasCamera: boolean;
  hasSound: boolean;
  hasPicture: boolean;
}

export function show(facts: Facts): Shown {
  const state = callState(facts);
  const talk = talkShown(facts);
  const told = line(facts, state);
  const unheard = talk === "talking" && whyUnheard(facts) !== "";
  const role = facts.status?.access.role ?? null;
  const mayTalk = role === "talker" || role === "owner";
  return {
    state,
    talk,
    ...control(facts, talk, unheard),
    unheard,
    ...told,
    called: talk === "talking" && state === "live" && facts.called && !told.warn,
    watchOnly: role === "viewer",
    canTalk: mayTalk && state === "live",
    canTakeOver: role === "owner" && state === "live" && facts.talk.busy && facts.turn !== "sending",
    hasCamera: mayTalk && (facts.status?.inboundVideo ?? false),
    hasSound: facts.status?.audio ?? true,
    hasPicture: facts.status?.video ?? true,
  };
}

function callState(facts: Facts): CallState {
  if (facts.ended !== null) return "ended";
  const seen = facts.picture || facts.status?.video === false;
  if (facts.call === "media" && seen) return "live";
  if (facts.failure !== null && facts.signalling) return "failed";
  return facts.wasLive ? "reconnecting" : "connecting";
}

function talkShown({ turn, talk }: Facts): TalkShown {
  if (turn === "sending") return "talking";
  if (turn !== "off") return "waiting";
  return talk.busy ? "busy" : "idle";
}

/** Only who stands in line waits; whoever has the turn and is not heard yet starts. */
function control({ turn }: Facts, talk: TalkShown, unheard: boolean): { label: string; press: string } {
  switch (talk) {
    case "idle":
      return { label: "Talk", press: "" };
    case "busy":
      return { label: "Ask to talk", press: "Press to get in line" };
    case "waiting":
      return turn === "waiting" ? { label: "Waiting", press: "Press to leave the line" } : { label: "Starting", press: "Press to cancel" };
    case "talking":
      return { label: unheard ? "Not heard" : "Talking", press: "Press to stop" };
  }
}

function line(facts: Facts, state: CallState): { headline: string; detail: string; warn: boolean } {
  if (!facts.online && state !== "live" && state !== "ended") {
    return warning("Reconnecting", "This computer is offline; the call comes back with the network.");
  }
  if (facts.turnedAway !== null && !facts.signalling && state !== "live" && state !== "ended") {
    const { headline, detail } = declined(facts.turnedAway);
    return warning(headline, detail);
  }
  switch (state) {
    case "connecting":
      if (facts.signalling && facts.status?.deviceId === null) {
        return calm("Connecting", "The device is not ready yet; the call starts as soon as it is.");
      }
      return facts.unanswered ? warning("Connecting", "The device does not answer; trying again.") : calm("Connecting", "");
    case "reconnecting":
      if (facts.notice?.away) return warning(facts.notice.headline, facts.notice.detail);
      return warning("Reconnecting", "The device or the network is gone for the moment; trying again.");
    case "failed":
      return failureLine(facts.failure);
    case "ended":
      return warning("Call ended", facts.ended ?? "");
    case "live":
      return liveLine(facts);
  }
}

function liveLine(facts: Facts): { headline: string; detail: string; warn: boolean } {
  const { turn, talk, notice } = facts;
  const fault = faultLine(facts);
  if (turn === "sending") {
    const unheard = whyUnheard(facts);
    const others = waiters(talk.waiting);
    // In the headline: the detail is what narrow windows leave out.
    if (unheard) return warning(facts.camera ? "You are seen, but not heard" : "You are not heard", sentences(sentence(unheard), others));
    const told = fault || (facts.camera ? "The device hears and sees you." : "The device hears you.");
    return calm(facts.called ? "You are on air" : "Talking", sentences(others, told, muted(facts)));
  }
  if (turn === "microphone") return calm("Starting your microphone", "If the browser asks, allow it.");
  if (turn === "starting") return calm("Your turn", "Connecting your microphone to the device.");
  if (turn === "asking") return calm("Asking for your turn", "");
  if (turn === "waiting") {
    return calm("Waiting for your turn", talk.place > 1 ? `${talk.place - 1} before you.` : "You are next.");
  }
  if (notice) return warning(notice.headline, notice.detail);
  if (talk.busy) {
    return calm("Busy: someone is talking", sentences(talk.waiting > 0 ? `${talk.waiting} in line.` : fault, muted(facts)));
  }
  if (!fault) return calm("Live", muted(facts));
  return warning(facts.faults["video"] ? "No picture" : facts.faults["audio"] ? "No sound" : "Live", sentences(fault, muted(facts)));
}

/** Whoever hears nothing shall not look for the reason in his own loudspeaker. */
function muted({ status }: Facts): string {
  return status?.audio && status.audioMuted ? "The device's sound is muted." : "";
}

function sentences(...parts: string[]): string {
  return parts.filter((part) => part !== "").join(" ");
}

/** For whoever talks: others would like to. */
function waiters(count: number): string {
  if (count === 0) return "";
  return count === 1 ? "One person waits for the turn." : `${count} people wait for the turn.`;
}

/** Why the device plays nothing of this person's talk; empty: it does. */
function whyUnheard(facts: Facts): string {
  return /^You are not heard: (.*)$/s.exec(faultLine(facts))?.[1] ?? UNHEARD[facts.status?.talkSound ?? "played"];
}

/** By the owner's will. */
const UNHEARD = { played: "", muted: "the device's owner has muted talkers", discarded: "this device plays no sound" } as const;

/** What fails at present. A fault of the talk is none while nobody talks, whatever the last talk left behind. */
function faultLine({ faults, turn, talk }: Facts): string {
  const talks = turn === "sending";
  const present = Object.entries(faults).filter(([part]) => part !== "talk" || talks || talk.busy);
  present.sort(([one], [other]) => Number(other === "talk") - Number(one === "talk"));
  return [...new Set(present.map(([, words]) => fault(words, talks)))].join(" ");
}

function failureLine(failure: CallFailure | null): { headline: string; detail: string; warn: boolean } {
  const failed = (detail: string) => warning("No call possible", detail);
  switch (failure?.kind) {
    case "unreachable":
      return failed(
        "No path to the device was found. Look whether this computer is on another subnet, on a VPN or behind " +
          "a firewall that stops UDP; where that has to stay so, a TURN server helps. Trying again.",
      );
    case "silent":
      return failed("The path to the device is open, but neither picture nor sound came in. Trying again.");
    case "device":
      return failed(sentence(failure.message));
    case "declined": {
      const { headline, detail } = declined(failure.words);
      return warning(headline, detail);
    }
    default:
      return failed("The call could not be started. Trying again.");
  }
}

/** Why a page stands before the sign-in now that could call, or set the device up, before; null: it could not, or does not know. */
export function putOut(before: Access | null): string | null {
  if (before?.needsSetup) return "This device has a password from now on. Sign in to go on.";
  if (before === null || before.role === null) return null;
  return before.open ? "This device has a password from now on. Sign in to go on." : "Your sign-in has ended. Sign in to go on.";
}

function calm(headline: string, detail: string) {
  return { headline, detail, warn: false };
}

function warning(headline: string, detail: string) {
  return { headline, detail, warn: true };
}
