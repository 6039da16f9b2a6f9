/**
 * Speaking a text and playing a clip to those who watch. Enters: names of clips, the person's role. Leaves: what is to be
 * announced. Never keeps a text, and never knows how it is spoken.
 */
import { plain } from "../sentences";
import { element } from "./elements";

export interface AnnounceEvents {
  /** All reject with a sentence. */
  say(text: string): Promise<void>;
  play(clip: string): Promise<void>;
  /** Ends what anybody began. */
  stop(): Promise<void>;
}

export class Announce {
  readonly #form = element("announce", HTMLFormElement);
  readonly #text = element("announce-text", HTMLInputElement);
  readonly #room = element("announce-room", HTMLElement);
  readonly #clips = element("clip-row", HTMLElement);
  readonly #clip = element("clip", HTMLSelectElement);
  readonly #play = element("clip-play", HTMLButtonElement);
  readonly #note = element("announce-note", HTMLElement);

  constructor(on: AnnounceEvents) {
    this.#text.addEventListener("input", () => {
      this.#note.textContent = ""; // it was about the last text
      this.#measure();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (text === "") return this.#say("Type what is to be said.");
      if (this.#measure()) return;
      void this.#do(on.say(text), "It is being said.").then((done) => {
        // What was typed meanwhile is the next text.
        if (done && this.#text.value.trim() === text) this.#text.value = "";
        this.#measure();
      });
    });
    element("announce-stop", HTMLButtonElement).addEventListener("click", () => void this.#do(on.stop(), "Nothing is being said or played now."));
    this.#play.addEventListener("click", () => void this.#do(on.play(this.#clip.value), "It is being played."));
  }

  showTalker(talker: boolean): void {
    this.#form.hidden = !talker;
  }

  showClips(names: readonly string[]): void {
    const chosen = this.#clip.value;
    this.#clip.replaceChildren(...names.map((name) => new Option(name.replace(/\.[a-z0-9]+$/i, ""), name)));
    if (names.includes(chosen)) this.#clip.value = chosen;
    this.#clips.hidden = names.length === 0;
  }

  #say(text: string): void {
    this.#note.textContent = text;
  }

  /** The settings were opened: an answer from before is old. */
  opened(): void {
    this.#note.textContent = "";
  }

  /** @returns whether the text is too long */
  #measure(): boolean {
    const { words, over } = room(this.#text.value);
    if (this.#room.textContent !== words) this.#room.textContent = words;
    this.#room.dataset["warn"] = String(over);
    this.#text.setAttribute("aria-invalid", String(over));
    return over;
  }

  async #do(work: Promise<void>, done: string): Promise<boolean> {
    this.#note.textContent = "";
    try {
      await work;
      this.#note.textContent = done;
      return true;
    } catch (error) {
      this.#note.textContent = plain(error instanceof Error ? error.message : String(error));
      return false;
    }
  }
}

/** How much may still be typed; empty while that is no matter. Nothing is cut off: what is too long is refused in words. */
export function room(text: string): { words: string; over: boolean } {
  const length = [...text.trim()].length; // as the service counts: by character, not by UTF-16 unit
  const over = length - MOST;
  if (over > 0) return { words: `${over === 1 ? "1 character" : `${over} characters`} too long: at most ${MOST} can be said at once.`, over: true };
  return { words: length > MOST - NEAR ? `${length} of ${MOST} characters` : "", over: false };
}

/** Characters that the service says at once. */
const MOST = 1000;
const NEAR = 100;
