/**
 * The device's picture and sound, and the state line. Enters: a MediaStream, what to show. Leaves: the
 * first frame, the state of the sound. Never knows where the stream comes from.
 */
import type { Shown } from "../state";
import { element, setPressed, takesLetters } from "./elements";

/** `blocked`: the browser wants a tap first. */
export type Sound = "muted" | "blocked" | "on";

export interface ViewerEvents {
  /** A frame of the present stream is on the screen, or (false) no longer. */
  picture(shown: boolean): void;
  sound(sound: Sound): void;
}

export class Viewer {
  readonly #call = element("call", HTMLElement);
  readonly #picture = element("picture", HTMLVideoElement);
  readonly #still = element("still", HTMLImageElement);
  readonly #lastFrame = element("last-frame", HTMLCanvasElement);
  readonly #veil = element("veil", HTMLElement);
  readonly #veilHeadline = element("veil-headline", HTMLElement);
  readonly #veilDetail = element("veil-detail", HTMLElement);
  readonly #state = element("state", HTMLElement);
  readonly #headline = element("headline", HTMLElement);
  readonly #detail = element("detail", HTMLElement);
  readonly #tap = element("tap-for-sound", HTMLButtonElement);
  readonly #mute = element("mute", HTMLButtonElement);
  readonly #volume = element("volume", HTMLInputElement);
  readonly #fullscreen = element("fullscreen", HTMLButtonElement);

  #wantsSound = localStorage.getItem(MUTED_KEY) !== "yes";
  #sound: Sound = "muted";
  #hushed = false;
  #stream: MediaStream | null = null;
  #hasSound = true;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly on: ViewerEvents) {
    // The device has none to show, or this person may not see it.
    const none = () => this.#still.naturalWidth === 0 && this.#still.remove();
    this.#still.addEventListener("error", none);
    if (this.#still.complete) none();
    for (const sign of ["loadeddata", "resize"]) this.#picture.addEventListener(sign, () => this.#frameCame());
    this.#tap.addEventListener("click", () => this.unblock());
    this.#mute.addEventListener("click", () => {
      const silent = this.#isSilent;
      if (this.#volume.valueAsNumber === 0) this.#setVolume(localStorage.getItem(BEFORE_KEY) ?? "100");
      this.#setWanted(silent);
    });
    this.#setUpVolume();
    this.#setUpFullscreen();
    this.#setUpKeys();
  }

  setStream(stream: MediaStream | null): void {
    if (stream === this.#stream) return;
    this.#stream = stream;
    if (stream === null) {
      this.#keepLastFrame();
      delete this.#picture.dataset["frame"];
      this.on.picture(false);
      return;
    }
    this.#picture.srcObject = stream;
    void this.#play();
  }

  show(shown: Shown): void {
    if (shown.state !== "connecting") this.#still.remove();
    const soundOnly = shown.state === "live" && !shown.hasPicture;
    write(this.#headline, shown.headline);
    write(this.#detail, shown.detail);
    write(this.#veilHeadline, soundOnly ? "Sound only" : shown.headline);
    write(this.#veilDetail, soundOnly ? "This device sends no picture." : shown.detail);
    this.#veil.hidden = shown.state === "live" && shown.hasPicture;
    this.#state.dataset["warn"] = String(shown.warn);
    if (this.#hasSound !== shown.hasSound) {
      this.#hasSound = shown.hasSound;
      this.#tap.hidden = !shown.hasSound || this.#sound !== "blocked";
    }
  }

  /** Any tap lets the browser play sound; to be called in one that was meant for another control, too. */
  unblock(): void {
    if (this.#sound === "blocked") this.#setWanted(true);
  }

  /** Something else is heard for a while: this is not, whatever the person has chosen, and then again. */
  hush(hushed: boolean): void {
    if (this.#hushed === hushed) return;
    this.#hushed = hushed;
    if (this.#sound === "on") void this.#play();
  }

  async useSpeaker(deviceId: string): Promise<void> {
    if (canChooseSpeaker()) await this.#picture.setSinkId(deviceId);
  }

  #setWanted(wanted: boolean): void {
    this.#wantsSound = wanted;
    localStorage.setItem(MUTED_KEY, wanted ? "no" : "yes");
    void this.#play();
  }

  async #play(): Promise<void> {
    const picture = this.#picture;
    picture.muted = !this.#wantsSound || this.#hushed;
    this.#setSound(this.#wantsSound ? "on" : "muted");
    if (!picture.srcObject) return;
    try {
      await picture.play();
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      // AbortError: a newer stream took this one's place and plays by itself.
      if (error.name !== "NotAllowedError" || picture.muted) return;
      picture.muted = true;
      this.#setSound("blocked");
      picture.play().catch((refused: unknown) => console.warn("the browser refuses to play even without sound:", refused));
    }
  }

  #setSound(sound: Sound): void {
    this.#sound = sound;
    this.#tap.hidden = sound !== "blocked" || !this.#hasSound;
    setPressed(this.#mute, this.#isSilent);
    this.on.sound(sound);
  }

  #frameCame(): void {
    // Chromium plays a black 2 x 2 frame for a track that ended without one.
    if (!this.#stream || this.#picture.readyState < 2 || this.#picture.videoWidth <= 2) return;
    this.#lastFrame.hidden = true;
    this.#still.remove();
    this.#picture.dataset["frame"] = "yes";
    this.on.picture(true);
  }

  /** The next stream empties the video element long before its first frame. */
  #keepLastFrame(): void {
    const { videoWidth, videoHeight } = this.#picture;
    if (!this.#picture.dataset["frame"]) return;
    this.#lastFrame.width = videoWidth;
    this.#lastFrame.height = videoHeight;
    this.#lastFrame.getContext("2d")?.drawImage(this.#picture, 0, 0);
    this.#lastFrame.hidden = false;
  }

  /** By the person's choice: muted, or not allowed to sound yet, or at volume 0. */
  get #isSilent(): boolean {
    return this.#sound !== "on" || this.#volume.valueAsNumber === 0;
  }

  /** @param value of the slider, 0 to 100 */
  #setVolume(value: string): void {
    this.#volume.value = value;
    this.#picture.volume = this.#volume.valueAsNumber / 100;
    localStorage.setItem(VOLUME_KEY, this.#volume.value);
    setPressed(this.#mute, this.#isSilent);
  }

  #setUpVolume(): void {
    this.#setVolume(localStorage.getItem(VOLUME_KEY) ?? "100");
    setPressed(this.#mute, !this.#wantsSound || this.#volume.valueAsNumber === 0);
    this.#volume.addEventListener("input", () => {
      this.#setVolume(this.#volume.value);
      if (this.#sound !== "on") this.#setWanted(true);
    });
    // Where the slider is let go; on its way to 0 it passes what nobody wants back.
    this.#volume.addEventListener("change", () => {
      if (this.#volume.valueAsNumber >= HEARD) localStorage.setItem(BEFORE_KEY, this.#volume.value);
    });
    // The panel beside the call takes of its width, too.
    const place = () => {
      const home = element(this.#call.clientWidth < NARROW ? "volume-away" : "volume-home", HTMLElement);
      if (this.#volume.parentElement !== home) home.append(this.#volume);
    };
    new ResizeObserver(place).observe(this.#call);
    place();
  }

  /** The keys that the tooltips name. */
  #setUpKeys(): void {
    const buttons: Record<string, HTMLButtonElement> = { m: this.#mute, f: this.#fullscreen };
    document.addEventListener("keydown", (event) => {
      // A browser that fills in a form sends a key press without a key.
      const button = buttons[(event.key as string | undefined)?.toLowerCase() ?? ""];
      const chord = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
      if (button && !chord && !takesLetters(event.target) && button.checkVisibility()) button.click();
    });
  }

  #setUpFullscreen(): void {
    // An iPhone has no full screen but that of its own player.
    const picture: HTMLVideoElement & { webkitEnterFullscreen?: () => void } = this.#picture;
    this.#fullscreen.hidden = !document.fullscreenEnabled && !picture.webkitEnterFullscreen;
    this.#fullscreen.addEventListener("click", () => {
      if (document.fullscreenElement) void document.exitFullscreen();
      else if (document.fullscreenEnabled) void this.#call.requestFullscreen();
      else picture.webkitEnterFullscreen?.();
    });
    document.addEventListener("fullscreenchange", () => setPressed(this.#fullscreen, document.fullscreenElement !== null));
    // In full screen the controls lie over the picture and step aside.
    const wake = () => {
      delete this.#call.dataset["idle"];
      clearTimeout(this.#idle);
      this.#idle = setTimeout(() => (this.#call.dataset["idle"] = "yes"), IDLE_MS);
    };
    for (const sign of ["pointermove", "pointerdown", "keydown"]) document.addEventListener(sign, wake);
  }
}

export function canChooseSpeaker(): boolean {
  return "setSinkId" in HTMLMediaElement.prototype;
}

/** Writes only what changed: a live region speaks at every write. */
function write(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

const MUTED_KEY = "duplex.muted";
const VOLUME_KEY = "duplex.volume";
/** What Mute brings back from volume 0. */
const BEFORE_KEY = "duplex.volume-before";
/** Of the slider's 100: less may be a step on the way to 0. */
const HEARD = 5;
const IDLE_MS = 3000;
/** Pixels of the call below which style.css has no room for the volume in the bar. */
const NARROW = 900;
