/**
 * Speaking a text and playing a clip to those who watch. Enters: names of clips, the person's role. Leaves: what is to be
 * announced. Never keeps a text, and never knows how it is spoken.
 */
import { element } from "./elements";

export interface AnnounceEvents {
  /** Both reject with a sentence. */
  say(text: string): Promise<void>;
  play(clip: string): Promise<void>;
}

export class Announce {
  readonly #form = element("announce", HTMLFormElement);
  readonly #text = element("announce-text", HTMLInputElement);
  readonly #clips = element("clip-row", HTMLElement);
  readonly #clip = element("clip", HTMLSelectElement);
  readonly #play = element("clip-play", HTMLButtonElement);
  readonly #note = element("announce-note", HTMLElement);

  constructor(on: AnnounceEvents) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (text === "") return;
      void this.#do(on.say(text), "It is being said.").then((done) => {
        if (done) this.#text.value = "";
      });
    });
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

  async #do(work: Promise<void>, done: string): Promise<boolean> {
    this.#note.textContent = "";
    try {
      await work;
      this.#note.textContent = done;
      return true;
    } catch (error) {
      this.#note.textContent = error instanceof Error ? error.message : String(error);
      return false;
    }
  }
}
