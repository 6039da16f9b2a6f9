/**
 * The sign that the call is recorded, for everybody, and the owner's button. Enters: what the service says, the person's
 * role. Leaves: the wish to start or stop. Never shows a recording that the service has not confirmed.
 */
import type { Recording } from "../generated/Recording";
import { elapsed } from "../time";
import { element, setPressed } from "./elements";

export interface RecorderEvents {
  /** Resolves once the service has done it or has refused to. */
  record(on: boolean): Promise<void>;
  /** It has run so many milliseconds: told each second. */
  passed(runs: number): void;
}

export class Recorder {
  readonly #sign = element("recording", HTMLElement);
  readonly #time = element("recording-time", HTMLElement);
  readonly #button = element("record", HTMLButtonElement);
  #on = false;
  /** When it began, as `performance.now()` counts: device and browser need not agree on the time of day. */
  #began: number | null = null;
  #begun = () => {};
  #tick: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly on: RecorderEvents) {
    this.#button.addEventListener("click", ({ detail }) => void this.#ask(detail === 0));
  }

  /** @param recording what the service says; null: it says nothing any more */
  show(recording: Recording | null): void {
    const on = recording?.on ?? false;
    this.#on = on;
    if (on) this.#begun();
    // A live region speaks at every write.
    const text = on ? "Recording" : "";
    if (this.#sign.textContent !== text) this.#sign.textContent = text;
    this.#began = on && recording?.elapsedMs != null ? performance.now() - recording.elapsedMs : null;
    this.#showTime();
    setPressed(this.#button, on);
    this.#button.title = on ? "Stop recording" : "Record this call";
  }

  /** Whether the service says that it records. */
  get isOn(): boolean {
    return this.#on;
  }

  /** Milliseconds that the recording has run; null: there is none. */
  get runs(): number | null {
    return this.#began === null ? null : performance.now() - this.#began;
  }

  /** Resolves when it records, or after so many milliseconds. */
  begins(most: number): Promise<void> {
    return new Promise((done) => {
      if (this.#on) return done();
      this.#begun = done;
      setTimeout(done, most);
    });
  }

  /** Beside the sign and not in it: a screen reader is told that it is recorded, not each second of it. */
  #showTime(): void {
    clearTimeout(this.#tick);
    const passed = this.runs;
    this.#time.textContent = passed === null ? "" : elapsed(passed);
    if (passed === null) return;
    this.on.passed(passed);
    this.#tick = setTimeout(() => this.#showTime(), SECOND_MS - (passed % SECOND_MS));
  }

  /**
   * One wish at a time, and a double click is one: its second half would end the recording before its first second.
   * @param byKey the focus, which a button loses while it cannot be pressed, comes back
   */
  async #ask(byKey: boolean): Promise<void> {
    this.#button.disabled = true;
    this.#button.setAttribute("aria-busy", "true");
    await this.on.record(!this.#on);
    await new Promise((done) => setTimeout(done, DOUBLE_CLICK_MS));
    this.#button.disabled = false;
    this.#button.removeAttribute("aria-busy");
    if (byKey && document.activeElement === document.body) this.#button.focus();
  }

  showOwner(owner: boolean): void {
    this.#button.hidden = !owner;
  }
}

/** Longest pause between two clicks that are one, with what slow hands need. */
const DOUBLE_CLICK_MS = 800;
const SECOND_MS = 1000;
