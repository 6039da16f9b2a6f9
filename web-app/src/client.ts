/**
 * The call itself, on gstwebrtc-api; nothing else imports that package. Enters: the signalling address, the
 * device's peer id, the talker's tracks. Leaves: typed events with the device's MediaStream and the state
 * of the call. Keeps signalling and the call alive by itself. Never touches the DOM, the HTTP interface
 * or a camera.
 */
import GstWebRTCAPI, { type ClientSession, type ConsumerSession, type ProducerSession } from "gstwebrtc-api";
import { Backoff } from "./backoff";
import { figures, receivedBytes, type Entry, type Figures, type Report } from "./stats";

/** `idle`: nothing to watch; `stalled`: media stopped, may come back; `lost`: ended, to be tried again. */
export type CallPhase = "idle" | "starting" | "media" | "stalled" | "lost";

/** `declined`: signalling starts no call and says why. */
export type CallFailure =
  | { kind: "unreachable" | "silent" | "refused" }
  | { kind: "device"; message: string }
  | { kind: "declined"; words: string };

export interface ClientEvents {
  /** Signalling is open; the service knows this page by `peerId` until `disconnected`. */
  connected(peerId: string): void;
  /** Signalling closed, or could not be opened; comes once for every try. */
  disconnected(): void;
  /** The service did not take the connection, which `disconnected` has just told, and says why. */
  turnedAway(words: string): void;
  /** `failure`: why the last try brought no media; null once media flows. */
  call(phase: CallPhase, failure: CallFailure | null): void;
  /** Sound and picture in one stream, so that the browser keeps them in sync; null when the call ended. */
  stream(stream: MediaStream | null): void;
  /** From capture to screen, whole milliseconds: told every ten seconds where the browser says it. */
  shown(latency: number): void;
  /** The device takes the talker's media (`sending`), or no longer does (`off`). */
  talk(phase: "sending" | "off"): void;
}

export class Client {
  readonly #url: string;
  readonly #on: ClientEvents;
  // The library keeps this object by reference, so ICE servers may arrive after the WebSocket is open.
  readonly #rtc: RTCConfiguration = { iceServers: [], bundlePolicy: "max-bundle" };

  #api: GstWebRTCAPI | null = null;
  #peerId: string | null = null;
  #opening = false;
  #reopen: Timer;
  readonly #signallingBackoff = new Backoff(500, 5000);

  #deviceId: string | null = null;
  #session: ConsumerSession | null = null;
  #phase: CallPhase = "idle";
  #failure: CallFailure | null = null;
  #answerTimer: Timer;
  #mediaTimer: Timer;
  #flowTimer: Timer;
  #retryTimer: Timer;
  readonly #callBackoff = new Backoff(500, 5000);
  #lastReport: Report | null = null;

  #producer: ProducerSession | null = null;
  // The device, and machines that the owner lets hear a talker: each has its own connection.
  readonly #listeners = new Map<ClientSession, RTCPeerConnection>();
  // What is sent in the place of a track that the talk began with, by kind.
  readonly #replaced = new Map<string, MediaStreamTrack>();

  /** @param url the signalling WebSocket, such as `wss://host/signalling` */
  constructor(url: string, on: ClientEvents) {
    this.#url = url;
    this.#on = on;
  }

  /** Opens signalling and keeps it open; calling it again drops every wait and tries at once. */
  connect(): void {
    if (this.#peerId === null) {
      this.#open();
    } else if (this.#session === null) {
      this.#startCall();
    }
  }

  /** Watches the device with this peer id from now on; null: there is none at present. */
  watch(deviceId: string | null, iceServers: readonly RTCIceServer[]): void {
    this.#rtc.iceServers = [...iceServers];
    if (deviceId === this.#deviceId) return;
    this.#deviceId = deviceId;
    this.#callBackoff.reset();
    this.#failure = null;
    this.#endCall(null);
    this.#startCall();
  }

  /** The device says that this negotiation came to nothing. */
  failed(message: string): void {
    const failure: CallFailure = { kind: "device", message };
    if (this.#phase === "starting") {
      this.#endCall(failure);
      this.#retryCall();
    } else if (this.#session === null) {
      this.#failure = failure; // the session was ended a moment before its reason came
      this.#setPhase(this.#phase);
    }
  }

  /**
   * Offers the talker's tracks to the device. The client stops them when the talk ends.
   * @returns false when signalling is not open
   */
  talk(stream: MediaStream): boolean {
    const producer = this.#api?.createProducerSession(stream) ?? null;
    if (!producer) return false;
    this.#producer = producer;
    producer.addEventListener("clientConsumerAdded", (event) => {
      this.#deviceListens(producer, (event as CustomEvent<ClientSession>).detail);
    });
    producer.addEventListener("clientConsumerRemoved", (event) => {
      this.#listenerGone(producer, (event as CustomEvent<ClientSession>).detail);
    });
    producer.addEventListener("closed", () => this.#endTalk(producer));
    producer.addEventListener("error", warn);
    return producer.start();
  }

  /** Sends this track from now on, without a new negotiation; nothing happens outside a talk. */
  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    if (!this.#producer) return;
    this.#replaced.set(track.kind, track);
    await Promise.all([...this.#listeners.values()].map((connection) => replace(connection, track)));
  }

  endTalk(): void {
    if (this.#producer) this.#endTalk(this.#producer);
  }

  /** Figures since the call before this one; null when there is no call. */
  async stats(): Promise<Figures | null> {
    if (!this.#session?.rtcPeerConnection) return null;
    const report = await this.#report();
    const result = figures(report, this.#lastReport);
    this.#lastReport = report;
    return result;
  }

  /** Ends everything; `connect` starts anew. */
  close(): void {
    const api = this.#api;
    this.#api = null;
    clearTimeout(this.#reopen);
    api?.unregisterAllConnectionListeners();
    this.#closed();
    api?._channel?.close();
  }

  #open(): void {
    clearTimeout(this.#reopen);
    this.#opening = true;
    if (this.#api) {
      this.#api.connectChannel();
    } else {
      this.#api = new GstWebRTCAPI({
        meta: null,
        signalingServerUrl: this.#url,
        reconnectionTimeout: 0,
        webrtcConfig: this.#rtc,
      });
      this.#api.registerConnectionListener({
        connected: (peerId) => this.#opened(peerId),
        disconnected: () => this.#closed(),
      });
      this.#api.registerPeerListener({ producerAdded: (peer) => this.#deviceListed(peer.id) });
    }
    this.#opening = false;
    this.#hearRefusals();
    // A network that swallows packets would keep the browser waiting for minutes.
    this.#reopen = setTimeout(() => this.#open(), OPEN_DEADLINE_MS);
  }

  /** The library writes them on the console only. */
  #hearRefusals(): void {
    const channel = this.#api?._channel ?? null;
    channel?.addEventListener("error", (event) => {
      const session = this.#session;
      // An error names no session: before one has begun, it is the answer to our asking for it.
      if (channel !== this.#api?._channel || this.#phase !== "starting" || !session || session.sessionId !== "") return;
      // After the name of the message that it answers.
      const words = String((event as ErrorEvent).error?.message ?? "").replace(/^startSession: /, "");
      if (words.startsWith(UNKNOWN_PRODUCER)) return; // a device that starts anew: it is listed, or named, in a moment
      this.#endCall({ kind: "declined", words });
      this.#retryCall();
    });
    channel?._ws?.addEventListener("close", ({ code, reason }) => {
      if (code === TRY_AGAIN_LATER && reason !== "" && this.#peerId === null) this.#on.turnedAway(reason);
    });
  }

  #opened(peerId: string): void {
    clearTimeout(this.#reopen);
    this.#signallingBackoff.reset();
    this.#peerId = peerId;
    this.#startCall(); // first of all: it waits for the device meanwhile
    this.#on.connected(peerId);
  }

  #closed(): void {
    this.#peerId = null;
    this.endTalk();
    this.#endCall(null);
    this.#on.disconnected();
    if (this.#api && !this.#opening) {
      clearTimeout(this.#reopen);
      this.#reopen = setTimeout(() => this.#open(), this.#signallingBackoff.next());
    }
  }

  #startCall(): void {
    clearTimeout(this.#retryTimer);
    if (this.#peerId === null || this.#deviceId === null || this.#session) return;
    // Asked for right away; the library's list of producers arrives a round trip later.
    const session = this.#api?.createConsumerSession(this.#deviceId) ?? null;
    if (!session) return;
    this.#session = session;
    this.#lastReport = null;
    session.mungeStereoHack = true;
    session.addEventListener("rtcPeerConnectionChanged", () => this.#follow(session));
    session.addEventListener("streamsChanged", () => {
      const stream = session.streams[0];
      if (this.#session === session && stream) this.#on.stream(stream);
    });
    session.addEventListener("error", warn);
    session.addEventListener("closed", () => {
      if (this.#session !== session) return;
      // Once is what a restart of the device looks like; again and again is a refusal.
      this.#endCall(this.#callBackoff.failures > 1 ? { kind: "refused" } : null);
      this.#retryCall();
    });
    this.#answerTimer = setTimeout(() => this.#noAnswer(session), ANSWER_DEADLINE_MS);
    this.#mediaTimer = setTimeout(() => this.#noMedia(session), MEDIA_DEADLINE_MS);
    this.#setPhase("starting");
    session.connect();
  }

  /** Follows a new peer connection from before its first description. */
  #follow(session: ConsumerSession): void {
    const connection = session.rtcPeerConnection;
    if (!connection || this.#session !== session) return;
    connection.addEventListener("track", ({ receiver, track }) => {
      playAtOnce(receiver);
      // A remote track unmutes with its first packet.
      if (track.muted) track.addEventListener("unmute", () => this.#mediaCame(session), { once: true });
      else this.#mediaCame(session);
    });
    connection.addEventListener("connectionstatechange", () => {
      if (this.#session !== session || connection.connectionState !== "failed") return;
      this.#endCall({ kind: "unreachable" });
      this.#retryCall();
    });
  }

  #mediaCame(session: ConsumerSession): void {
    if (this.#session !== session || this.#phase !== "starting") return;
    clearTimeout(this.#answerTimer);
    clearTimeout(this.#mediaTimer);
    this.#callBackoff.reset();
    this.#failure = null;
    this.#setPhase("media");
    let bytes = 0;
    let stillSeconds = 0;
    let untoldSeconds = 0;
    this.#flowTimer = setInterval(async () => {
      const report = await this.#report();
      const now = receivedBytes(report);
      if (this.#session !== session) return;
      const { latency } = figures(report, null);
      if (latency !== null && now !== bytes && ++untoldSeconds >= TELL_S) {
        untoldSeconds = 0;
        this.#on.shown(Math.round(latency));
      }
      stillSeconds = now === bytes ? stillSeconds + 1 : 0;
      bytes = now;
      this.#flows(stillSeconds);
    }, 1000);
  }

  /** Media that stands still is seen here seconds before ICE calls the path disconnected. */
  #flows(stillSeconds: number): void {
    if (stillSeconds >= STALL_DEADLINE_S) {
      this.#endCall(null);
      this.#retryCall();
      return;
    }
    const phase = stillSeconds >= STALL_S ? "stalled" : "media";
    if (phase !== this.#phase) this.#setPhase(phase);
  }

  #noAnswer(session: ConsumerSession): void {
    if (this.#session !== session || session.sessionId !== "") return;
    const listed = this.#api?.getAvailableProducers().some((peer) => peer.id === session.peerId);
    if (listed) {
      this.#open(); // the WebSocket looks open, but nothing comes back
    } else {
      this.#endCall(null); // goes on when the device is listed, or the service names another one
    }
  }

  #noMedia(session: ConsumerSession): void {
    if (this.#session !== session) return;
    const state = session.rtcPeerConnection?.connectionState;
    this.#endCall({ kind: state === "connected" ? "silent" : state ? "unreachable" : "refused" });
    this.#retryCall();
  }

  #deviceListed(peerId: string): void {
    if (peerId !== this.#deviceId) return;
    if (!this.#session) {
      this.#startCall();
      return;
    }
    // Listed after we asked and still no session: the device came too late for the request.
    const session = this.#session;
    setTimeout(() => {
      if (this.#session !== session || session.sessionId !== "") return;
      this.#endCall(null);
      this.#startCall();
    }, LISTED_GRACE_MS);
  }

  async #report(): Promise<Report> {
    const report = new Map<string, Entry>();
    const found = await this.#session?.rtcPeerConnection?.getStats();
    found?.forEach((entry: Entry, id: string) => report.set(id, entry));
    return report;
  }

  #endCall(failure: CallFailure | null): void {
    for (const timer of [this.#answerTimer, this.#mediaTimer, this.#retryTimer]) clearTimeout(timer);
    clearInterval(this.#flowTimer);
    const session = this.#session;
    this.#session = null;
    if (session) this.#on.stream(null);
    // A call that worked and broke is no proof that no call is possible.
    if (failure && this.#phase === "starting") this.#failure = failure;
    this.#setPhase(session ? "lost" : "idle");
    session?.close();
  }

  #retryCall(): void {
    this.#retryTimer = setTimeout(() => this.#startCall(), this.#callBackoff.next());
  }

  #setPhase(phase: CallPhase): void {
    this.#phase = phase;
    this.#on.call(phase, this.#failure);
  }

  #deviceListens(producer: ProducerSession, session: ClientSession): void {
    const connection = session.rtcPeerConnection;
    if (this.#producer !== producer || !connection) return;
    this.#listeners.set(session, connection);
    // The library gives whoever comes later what the talk began with.
    for (const track of this.#replaced.values()) replace(connection, track).catch((error: unknown) => console.warn(error));
    connection.addEventListener("connectionstatechange", () => {
      if (this.#producer !== producer) return;
      if (connection.connectionState === "connected") this.#on.talk("sending");
      if (connection.connectionState === "failed") this.#listenerGone(producer, session);
    });
  }

  /** The talk ends with its last listener; that the device was not the last, the service says (`you` is idle then). */
  #listenerGone(producer: ProducerSession, session: ClientSession): void {
    if (this.#producer !== producer) return;
    this.#listeners.delete(session);
    if (this.#listeners.size === 0) this.#endTalk(producer);
  }

  #endTalk(producer: ProducerSession): void {
    if (this.#producer !== producer) return;
    this.#producer = null;
    this.#listeners.clear();
    this.#replaced.clear();
    producer.close();
    this.#on.talk("off");
  }
}

/** Asks for the smallest jitter buffer; the browser still grows it where the network needs it. */
function playAtOnce(receiver: RTCRtpReceiver): void {
  const tunable: { jitterBufferTarget?: number | null; playoutDelayHint?: number | null } = receiver;
  if ("jitterBufferTarget" in tunable) tunable.jitterBufferTarget = 0;
  else if ("playoutDelayHint" in tunable) tunable.playoutDelayHint = 0;
}

async function replace(connection: RTCPeerConnection, track: MediaStreamTrack): Promise<void> {
  await connection.getSenders().find((one) => one.track?.kind === track.kind)?.replaceTrack(track);
}

function warn(event: Event): void {
  console.warn((event as ErrorEvent).message);
}

type Timer = ReturnType<typeof setTimeout> | undefined;

const UNKNOWN_PRODUCER = "there is no producer";
/** WebSocket close code. */
const TRY_AGAIN_LATER = 1013;
const OPEN_DEADLINE_MS = 6000;
const ANSWER_DEADLINE_MS = 4000;
const MEDIA_DEADLINE_MS = 12000;
/** The service takes a page's figure every 4 s at most. */
const TELL_S = 10;
const STALL_S = 2;
const STALL_DEADLINE_S = 6;
const LISTED_GRACE_MS = 500;
