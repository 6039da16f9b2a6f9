/**
 * One person's turn to talk. Enters: the wish to talk, the service's word on whose turn it is, the
 * client's word on whether the device takes our media. Leaves: the phase of the turn and notices to show.
 * Keeps the microphone open only between the wish and the end of the turn. Never touches the DOM.
 */
import * as api from "./api";
import * as capture from "./capture";
import type { Client } from "./client";
import type { TalkState } from "./generated/TalkState";
import type { Notice } from "./state";

/** In the order of a turn; `sending`: the device has our sound. */
export type TurnPhase = "off" | "microphone" | "asking" | "waiting" | "starting" | "sending";

export interface TurnEvents {
  phase(phase: TurnPhase): void;
  talk(talk: TalkState): void;
  /** Null takes the last notice away. */
  notice(notice: Notice | null): void;
  camera(track: MediaStreamTrack | null): void;
}

export class Turn {
  /** This page's peer id; null while signalling is closed. */
  peer: string | null = null;
  /** The chosen microphone; empty: the browser's default. */
  microphoneId = "";
  /** The device takes a picture. */
  hasCamera = false;

  #phase: TurnPhase = "off";
  #microphone: MediaStreamTrack | null = null;
  #camera: MediaStreamTrack | null = null;
  #cameraWish = 0;
  #cameraOpens = false;
  #blank: MediaStreamTrack | null = null;
  #deadline: Timer;
  #doubt: Timer;
  #version = 0;
  // Each wish has its number, so that an answer to one that was given up is recognized.
  #wish = 0;

  /** @param blankVideo makes a video track that never has a frame: the camera's place while it is off */
  constructor(
    private readonly client: Client,
    private readonly blankVideo: () => MediaStreamTrack,
    private readonly on: TurnEvents,
  ) {}

  /** The person talks, or has asked to. */
  get wanted(): boolean {
    return this.#phase !== "off";
  }

  /** @param take owner only: ends the turn of whoever talks */
  async begin(take: boolean): Promise<void> {
    if (this.peer === null || (this.wanted && !take)) return;
    const wish = (this.#wish += 1);
    this.on.notice(null);
    try {
      if (!this.#microphone) {
        this.#setPhase("microphone");
        const microphone = await capture.open("microphone", this.microphoneId);
        if (wish !== this.#wish) return microphone.stop();
        this.#microphone = microphone;
        this.#setPhase("asking");
      }
      const talk = await api.talk(this.peer, take);
      if (wish === this.#wish) this.heard(talk);
      // Given up while the question was under way: its release may have overtaken it.
      else if (!this.wanted) await this.#release();
    } catch (error) {
      if (wish === this.#wish) this.#giveUp(toNotice(error));
    }
  }

  /** Ends the turn, or leaves the line. */
  end(): void {
    if (!this.wanted) return;
    this.#stop();
    void this.#release();
  }

  /** The service's word, as an answer or as an event. */
  heard(talk: TalkState): void {
    if (talk.version < this.#version) return; // an event from before our question, after its answer
    this.#version = talk.version;
    this.on.talk(talk);
    clearTimeout(this.#doubt);
    if (talk.you === "talking" && (this.#phase === "asking" || this.#phase === "waiting")) {
      this.#offer();
    } else if (talk.you === "waiting" && this.#phase === "asking") {
      this.#setPhase("waiting");
    } else if (talk.you === "idle" && this.#phase === "asking") {
      // From before our question: the answer to it is still to come.
    } else if (talk.you === "idle" && talk.revokedBy !== null && this.wanted) {
      this.#stop();
      this.on.notice({ headline: "Your turn has ended", detail: talk.revokedBy });
    } else if (talk.you === "idle" && IN_LINE.has(this.#phase)) {
      // Our media has ended for the service; a reason of its own may be on its way.
      this.#doubt = setTimeout(() => this.#giveUp(CUT), DOUBT_MS);
    }
  }

  /** The client's word on the talk's media. */
  media(phase: "sending" | "off"): void {
    if (phase === "sending" && this.#phase === "starting") {
      clearTimeout(this.#deadline);
      this.#setPhase("sending");
      if (this.#camera) this.#send(this.#camera);
    } else if (phase === "off" && this.wanted) {
      this.#giveUp(CUT);
    }
  }

  /** The device's word on why it does not take our media; the end of the media itself may have come before it. */
  failed(message: string): void {
    const notice = { headline: "The talk was cut", detail: message };
    if (this.wanted) this.#giveUp(notice);
    else this.on.notice(notice);
  }

  /** Signalling closed: the service has given the turn to somebody else. */
  lostSignalling(): void {
    this.peer = null;
    this.#version = 0; // a service that was started anew counts anew
    if (!this.wanted) return;
    this.#stop();
    this.on.notice({ headline: "Your turn has ended", detail: "The connection was lost for a moment. Press Talk to go on." });
  }

  async useMicrophone(deviceId: string): Promise<void> {
    this.microphoneId = deviceId;
    if (!this.#microphone) return;
    try {
      const next = await capture.open("microphone", deviceId);
      this.#microphone?.stop();
      if (!this.wanted) return next.stop();
      this.#microphone = next;
      this.#send(next);
    } catch (error) {
      this.on.notice(toNotice(error));
    }
  }

  async toggleCamera(): Promise<void> {
    // A second tap while it opens is meant to close it: nobody is to be seen who tapped twice.
    if (this.#camera || this.#cameraOpens) return this.#cameraOff();
    const wish = ++this.#cameraWish;
    this.#cameraOpens = true;
    try {
      const camera = await capture.open("camera", "");
      if (wish !== this.#cameraWish) return camera.stop();
      this.#cameraOpens = false;
      camera.addEventListener("ended", () => this.#cameraOff());
      this.#camera = camera;
      this.on.camera(camera);
      this.#send(camera);
    } catch (error) {
      if (wish !== this.#cameraWish) return;
      this.#cameraOpens = false;
      this.on.notice(toNotice(error));
    }
  }

  #cameraOff(): void {
    this.#cameraWish += 1;
    this.#cameraOpens = false;
    this.#camera?.stop();
    this.#camera = null;
    this.on.camera(null);
    if (this.#blank) this.#send(this.#blank);
  }

  #send(track: MediaStreamTrack): void {
    this.client.replaceTrack(track).catch((error) => this.on.notice(toNotice(error)));
  }

  #offer(): void {
    const tracks = [this.#microphone].filter((track) => track !== null);
    if (this.hasCamera) {
      // The library stops the tracks it is given, and the camera outlives the turn: it comes in by replaceTrack.
      this.#blank = this.blankVideo();
      tracks.push(this.#blank);
    }
    this.#setPhase("starting");
    this.#deadline = setTimeout(() => {
      this.#giveUp({ headline: "Not heard", detail: "The device did not take your sound in time. Press Talk to try again." });
    }, MEDIA_DEADLINE_MS);
    if (!this.client.talk(new MediaStream(tracks))) this.end();
  }

  #giveUp(notice: Notice): void {
    this.end();
    this.on.notice(notice);
  }

  #stop(): void {
    this.#wish += 1;
    clearTimeout(this.#deadline);
    clearTimeout(this.#doubt);
    this.#setPhase("off");
    this.client.endTalk();
    this.#microphone?.stop();
    this.#microphone = null;
    this.#blank?.stop();
    this.#blank = null;
  }

  async #release(): Promise<void> {
    if (this.peer === null) return;
    try {
      this.heard(await api.releaseTalk(this.peer));
    } catch (error) {
      // The service frees the turn itself when the peer's media or WebSocket ends.
      console.warn("could not give the turn back:", error);
    }
  }

  #setPhase(phase: TurnPhase): void {
    this.#phase = phase;
    this.on.phase(phase);
  }
}

function toNotice(error: unknown): Notice {
  if (error instanceof capture.CaptureRefused) return { headline: error.headline, detail: error.message };
  return { headline: "Talking is not possible", detail: error instanceof Error ? error.message : String(error) };
}

type Timer = ReturnType<typeof setTimeout> | undefined;

const IN_LINE: ReadonlySet<TurnPhase> = new Set(["waiting", "starting", "sending"]);
const CUT: Notice = { headline: "The talk was cut", detail: "The device no longer takes your sound. Press Talk to try again." };
const DOUBT_MS = 500;
const MEDIA_DEADLINE_MS = 12000;
