/**
 * The sign that the call is recorded, for everybody, and the owner's button. Enters: what the service says, the person's
 * role. Leaves: the wish to start or stop. Never shows a recording that the service has not confirmed.
 */
import { element, setPressed } from "./elements";

export interface RecorderEvents {
  /** Resolves once the service has done it, rejects with a sentence. */
  record(on: boolean): Promise<void>;
}

export class Recorder {
  readonly #sign = element("recording", HTMLElement);
  readonly #button = element("record", HTMLButtonElement);
  #on = false;

  constructor(on: RecorderEvents) {
    this.#button.addEventListener("click", () => {
      if (this.#button.getAttribute("aria-busy") === "true") return;
      this.#button.setAttribute("aria-busy", "true");
      void on.record(!this.#on).finally(() => this.#button.removeAttribute("aria-busy"));
    });
  }

  show(on: boolean): void {
    this.#on = on;
    // A live region speaks at every write.
    const text = on ? "Recording" : "";
    if (this.#sign.textContent !== text) this.#sign.textContent = text;
    setPressed(this.#button, on);
    this.#button.title = on ? "Stop recording" : "Record this call";
  }

  showOwner(owner: boolean): void {
    this.#button.hidden = !owner;
  }
}
