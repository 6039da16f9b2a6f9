/**
 * The controls for talking back: Talk, camera, self-view, microphone and speaker choice. Enters: what to
 * show. Leaves: what the person wants. Never opens a device and never knows about the service.
 */
import { Press } from "../press";
import type { Shown } from "../state";
import { element, ownsSpace, setPressed } from "./elements";

export interface TalkbackEvents {
  /** Begin to talk, or get in line. */
  begin(): void;
  end(): void;
  takeOver(): void;
  toggleCamera(): void;
  /** Empty: the browser's default. */
  chooseMicrophone(deviceId: string): void;
  chooseSpeaker(deviceId: string): void;
}

export class Talkback {
  readonly #talk = element("talk", HTMLButtonElement);
  readonly #label = element("talk-label", HTMLElement);
  readonly #hint = element("talk-hint", HTMLElement);
  readonly #takeOver = element("take-over", HTMLButtonElement);
  readonly #camera = element("camera", HTMLButtonElement);
  readonly #self = element("self", HTMLElement);
  readonly #selfView = element("self-view", HTMLVideoElement);
  readonly #selfCaption = element("self-caption", HTMLElement);
  readonly #microphone = element("microphone", HTMLSelectElement);
  readonly #microphoneField = element("microphone-field", HTMLElement);
  readonly #speaker = element("speaker", HTMLSelectElement);
  readonly #speakerField = element("speaker-field", HTMLElement);

  readonly #press = new Press();
  #wanted = false;
  #shown: Shown | null = null;

  constructor(private readonly on: TalkbackEvents) {
    this.#followPointer();
    this.#followSpace();
    // Enter, a screen reader and a script click without a press before.
    this.#talk.addEventListener("click", (event) => {
      if (event.detail === 0) this.#toggle();
    });
    this.#takeOver.addEventListener("click", () => on.takeOver());
    this.#camera.addEventListener("click", () => on.toggleCamera());
    this.#microphone.addEventListener("change", () => on.chooseMicrophone(this.#microphone.value));
    this.#speaker.addEventListener("change", () => on.chooseSpeaker(this.#speaker.value));
  }

  /** @param wanted whether the person talks or waits for a turn */
  show(shown: Shown, wanted: boolean): void {
    this.#shown = shown;
    this.#wanted = wanted;
    this.#talk.disabled = !shown.canTalk && !wanted;
    this.#talk.hidden = shown.watchOnly;
    setPressed(this.#talk, wanted);
    this.#label.textContent = shown.label;
    this.#showHint();
    this.#takeOver.hidden = !shown.canTakeOver;
    this.#camera.hidden = !shown.hasCamera;
    this.#microphoneField.hidden = shown.watchOnly;
    this.#selfCaption.textContent = shown.talk === "talking" ? "The device sees you" : "Only you see this";
  }

  showCamera(track: MediaStreamTrack | null): void {
    setPressed(this.#camera, track !== null);
    this.#self.hidden = track === null;
    this.#selfView.srcObject = track && new MediaStream([track]);
  }

  showChoices(microphones: readonly MediaDeviceInfo[], speakers: readonly MediaDeviceInfo[], withSpeaker: boolean): void {
    fill(this.#microphone, microphones);
    fill(this.#speaker, speakers);
    this.#speakerField.hidden = !withSpeaker || speakers.length === 0;
  }

  #followPointer(): void {
    this.#talk.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.#talk.disabled) return;
      this.#talk.setPointerCapture(event.pointerId);
      this.#down();
    });
    for (const end of ["pointerup", "pointercancel"]) this.#talk.addEventListener(end, () => this.#up());
    // A long press must not open a menu over the control.
    this.#talk.addEventListener("contextmenu", (event) => event.preventDefault());
    window.addEventListener("blur", () => this.#up());
  }

  #followSpace(): void {
    const isTalkKey = (event: KeyboardEvent) => event.code === "Space" && this.#spaceTalks(event.target);
    // Where the focus goes, the key goes; a control that is taken away while it has the focus tells nothing.
    for (const sign of ["focusin", "focusout"]) document.addEventListener(sign, () => setTimeout(() => this.#showHint()));
    // What was clicked has done its work, and so has what had the focus given back by it: the key is for talking again. Who works
    // by keyboard, where a click has no detail, keeps the place; so does who fills in a form or goes through a list.
    document.addEventListener("click", ({ detail }) => {
      const focused = document.activeElement;
      if (detail > 0 && focused instanceof HTMLButtonElement && !focused.closest("form, dialog, ul, ol")) focused.blur();
    });
    document.addEventListener("keydown", (event) => {
      if (!isTalkKey(event)) return;
      event.preventDefault(); // no scrolling, and no click when the key comes up
      if (!event.repeat && !this.#talk.disabled) this.#down();
    });
    document.addEventListener("keyup", (event) => {
      if (event.code !== "Space" || !this.#press.down) return;
      event.preventDefault();
      this.#up();
    });
  }

  /** Whether the key talks while that has the focus. */
  #spaceTalks(focused: EventTarget | null): boolean {
    return (focused === this.#talk || !ownsSpace(focused)) && this.#talk.checkVisibility();
  }

  #down(): void {
    if (this.#press.press(performance.now(), this.#wanted) === "start") this.on.begin();
    setTimeout(() => this.#showHint(), HINT_DELAY_MS);
  }

  #up(): void {
    if (this.#press.lift(performance.now()) === "stop") this.on.end();
    this.#showHint();
  }

  #toggle(): void {
    if (this.#wanted) this.on.end();
    else this.on.begin();
  }

  #hintOf(shown: Shown): string {
    if (shown.watchOnly) return "You may watch and listen";
    if (this.#talk.disabled) return "";
    if (this.#press.holding(performance.now())) return "Let go to stop";
    if (shown.press !== "") return shown.press;
    if (TOUCH.matches) return "Tap to talk, or hold.";
    return this.#spaceTalks(document.activeElement) ? "Click to talk, or hold. Space works too." : "Click to talk, or hold.";
  }

  #showHint(): void {
    const hint = this.#shown ? this.#hintOf(this.#shown) : "";
    if (this.#hint.textContent !== hint) this.#hint.textContent = hint;
  }
}

function fill(select: HTMLSelectElement, devices: readonly MediaDeviceInfo[]): void {
  const chosen = select.value;
  // Without permission the browser lists devices without id and name: nothing to choose from.
  const options = devices
    .filter((device) => device.deviceId !== "" && device.deviceId !== "default")
    .map((device, index) => new Option(device.label || `${select.id} ${index + 1}`, device.deviceId));
  select.replaceChildren(new Option("Default", ""), ...options);
  select.value = options.some((option) => option.value === chosen) ? chosen : "";
}

// A pen makes no keyboard. Asked anew each time: one may be attached.
const TOUCH = matchMedia("((hover: none) and (pointer: coarse)) or (not (any-pointer: fine))");
const HINT_DELAY_MS = 400;
