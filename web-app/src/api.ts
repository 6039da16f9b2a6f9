/**
 * The service's HTTP interface. Enters: what the page wants. Leaves: the generated types, or an
 * ApiFailure with a sentence to show. Never touches the DOM or media, and never sees a secret other
 * than the password on its way out: the session lives in a cookie that scripts cannot read.
 */
import type { Access } from "./generated/Access";
import type { ApiError } from "./generated/ApiError";
import type { Event as ServiceEvent } from "./generated/Event";
import type { LatencyRequest } from "./generated/LatencyRequest";
import type { Quality } from "./generated/Quality";
import type { Recording } from "./generated/Recording";
import type { RecordingEntry } from "./generated/RecordingEntry";
import type { Status } from "./generated/Status";
import type { TalkState } from "./generated/TalkState";

export type { ServiceEvent };

export class ApiFailure extends Error {
  /**
   * @param status HTTP status; 0 when the service could not be reached
   * @param retryAfter seconds until the next try has a chance; null: the service did not say
   */
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export function status(): Promise<Status> {
  return call<Status>("GET", "status");
}

export function signIn(password: string): Promise<Access> {
  return call<Access>("POST", "sign-in", { password });
}

export function signOut(): Promise<void> {
  return call<void>("POST", "sign-out");
}

export function setUp(code: string, password: string): Promise<Access> {
  return call<Access>("POST", "setup", { code, password });
}

/** @param take owner only: ends the other person's turn */
export function talk(peer: string, take: boolean): Promise<TalkState> {
  return call<TalkState>("POST", "talk", { peer, take });
}

export function releaseTalk(peer: string): Promise<TalkState> {
  return call<TalkState>("POST", "talk/release", { peer });
}

/** Owner only; answers once the file is begun or complete. */
export function record(on: boolean): Promise<Recording> {
  return call<Recording>("POST", "recording", { action: on ? "start" : "stop" });
}

/** Owner only; the newest first. */
export function recordings(): Promise<RecordingEntry[]> {
  return call<RecordingEntry[]>("GET", "recordings");
}

/** Owner only. */
export function removeRecording(name: string): Promise<void> {
  return call<void>("DELETE", `recordings/${encodeURIComponent(name)}`);
}

export function recordingAddress(name: string): string {
  return `${BASE}recordings/${encodeURIComponent(name)}`;
}

/** Whether the device still has a file at that address; true as well when it does not answer. */
export async function exists(address: string): Promise<boolean> {
  try {
    return (await fetch(address, { method: "HEAD" })).status !== 404;
  } catch {
    return true;
  }
}

/** Talkers and owners; to all who watch. */
export function say(text: string): Promise<void> {
  return call<void>("POST", "say", { text });
}

export function clips(): Promise<string[]> {
  return call<string[]>("GET", "clips");
}

export function playClip(name: string): Promise<void> {
  return call<void>("POST", "clips/play", { name });
}

/** Talkers and owners; whoever began it. */
export function endAnnouncements(): Promise<void> {
  return call<void>("DELETE", "announcements");
}

/** Where the viewer then stands comes as an event. */
export function chooseQuality(peer: string, quality: Quality): Promise<void> {
  return call<void>("POST", "quality", { peer, quality });
}

/** What this browser measured from capture to screen, for the owner and the metrics. */
export function tellLatency(peer: string, captureToScreenMs: number): Promise<void> {
  return call<void>("POST", "latency", { peer, captureToScreenMs } satisfies LatencyRequest);
}

/**
 * The service's events for one signalling peer.
 * @param lost called once, when the stream has ended and will not come back by itself
 * @returns ends it
 */
export function events(peer: string, heard: (event: ServiceEvent) => void, lost: () => void): () => void {
  const source = new EventSource(`${BASE}events?peer=${encodeURIComponent(peer)}`);
  source.onmessage = (message: MessageEvent<string>) => {
    let event: ServiceEvent;
    try {
      event = JSON.parse(message.data) as ServiceEvent;
    } catch {
      console.warn("dropped an event that is not JSON");
      return;
    }
    heard(event);
  };
  source.onerror = () => {
    // The browser's own retry hides a 401 from us and keeps a dead peer id, so start anew instead.
    source.close();
    lost();
  };
  return () => source.close();
}

/** One request; the answer is what the service says it is. */
export async function call<T>(method: "GET" | "POST" | "PATCH" | "DELETE", path: string, body?: object): Promise<T> {
  const options: RequestInit = { method, signal: AbortSignal.timeout(DEADLINE_MS) };
  if (body) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  let answer: Response;
  try {
    answer = await fetch(BASE + path, options);
  } catch {
    throw new ApiFailure(0, "unreachable", "The device does not answer. Look at its power and network, then try again.");
  }
  if (!answer.ok) throw await failure(answer);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

async function failure(answer: Response): Promise<ApiFailure> {
  const seconds = Number(answer.headers.get("retry-after"));
  try {
    const { error } = (await answer.json()) as ApiError;
    return new ApiFailure(answer.status, error.code, error.message, seconds > 0 ? seconds : null);
  } catch {
    return new ApiFailure(answer.status, "unknown", `The device answered with HTTP status ${answer.status}.`);
  }
}

const BASE = "/api/v1/";
const DEADLINE_MS = 10_000;
