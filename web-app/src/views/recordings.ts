/**
 * The owner's list of recordings: how many there are, on the control that opens it; when, how long, how large, who; play,
 * download, delete. Enters: the list. Leaves: the wish to have it, to delete one. Never fetches anything itself but by the
 * addresses it is given.
 */
import type { RecordingEntry } from "../generated/RecordingEntry";
import { shortName } from "../names";
import { dated } from "../time";
import { element } from "./elements";

export interface RecordingsEvents {
  list(): Promise<RecordingEntry[]>;
  remove(name: string): Promise<void>;
  /** Where the file of that name is. */
  address(name: string): string;
  /** Whether there is a file at that address; true as well when the device does not answer. */
  exists(address: string): Promise<boolean>;
  /** Whether that peer is this page. */
  isHere(peer: string): boolean;
}

export class Recordings {
  readonly #dialog = element("recordings", HTMLDialogElement);
  readonly #open = element("recordings-open", HTMLButtonElement);
  readonly #player = element("recordings-player", HTMLVideoElement);
  readonly #note = element("recordings-note", HTMLElement);
  readonly #list = element("recordings-list", HTMLUListElement);
  readonly #count = element("recordings-count", HTMLElement);
  #owner = false;
  #known = false;
  #soon: ReturnType<typeof setTimeout> | undefined;
  #doubt: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly on: RecordingsEvents) {
    this.#open.addEventListener("click", () => {
      this.#say("Loading the list.", false);
      this.#dialog.showModal();
      void this.#refresh();
    });
    element("recordings-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    // A press beside it closes it, as with the settings.
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => this.#stop());
    this.#player.addEventListener("error", () => void this.#broken());
  }

  showOwner(owner: boolean): void {
    if (owner === this.#owner) return;
    this.#owner = owner;
    this.#open.hidden = !owner;
    if (owner) return this.changed();
    this.#dialog.close();
    this.#known = false;
    this.#showCount(0);
  }

  /** A recording began or ended, or may have. */
  changed(): void {
    clearTimeout(this.#soon);
    if (!this.#owner) return;
    if (this.#dialog.open) return void this.#refresh();
    // At first the call comes before the number of what there is besides.
    this.#soon = setTimeout(() => void this.#refresh(), this.#known ? SOON_MS : FIRST_MS);
  }

  #showCount(count: number): void {
    this.#count.textContent = count === 0 ? "" : count > MOST_SHOWN ? `${MOST_SHOWN}+` : String(count);
    const name = count === 0 ? "Recordings" : `Recordings (${count})`;
    this.#open.setAttribute("aria-label", name);
    this.#open.title = name;
  }

  async #refresh(): Promise<void> {
    try {
      const entries = await this.on.list();
      if (!this.#owner) return;
      this.#known = true;
      this.#showCount(entries.length);
      this.#list.replaceChildren(...entries.map((entry) => this.#item(entry)));
      this.#say(entries.length === 0 ? "There is none yet. The red button beside the picture's controls makes one." : "", false);
    } catch (error) {
      this.#say(sentence(error), true);
    }
  }

  #item(entry: RecordingEntry): HTMLLIElement {
    const item = document.createElement("li");
    const when = made("p", "when", entry.began === null ? "At an unknown time" : dated(Date.parse(entry.began)));
    when.title = `File ${entry.name}; the time in its name is UTC`;
    const names = callers(entry.talkers, (peer) => this.on.isHere(peer));
    const what = made("p", "what", summary(entry, names));
    if (names.length > MOST_NAMED) what.title = `${names.join(", ")} talked`;
    if (entry.recording) what.prepend(made("span", "live", "Recording now"), " · ");
    const acts = made("div", "acts", "");
    const play = act("Play", when.textContent);
    play.addEventListener("click", () => this.#play(entry, item));
    const download = document.createElement("a");
    download.href = this.on.address(entry.name);
    download.download = entry.name;
    download.textContent = "Download";
    download.setAttribute("aria-label", `Download ${when.textContent}`);
    const remove = act("Delete", when.textContent);
    remove.disabled = entry.recording;
    remove.addEventListener("click", () => void this.#remove(entry, item, remove));
    remove.addEventListener("blur", () => unsure(remove));
    acts.append(play, download, remove);
    item.append(when, what, acts);
    return item;
  }

  #play(entry: RecordingEntry, item: HTMLLIElement): void {
    for (const other of this.#list.children) other.removeAttribute("aria-current");
    item.setAttribute("aria-current", "true");
    this.#say("", false);
    this.#player.hidden = false;
    this.#player.src = this.on.address(entry.name);
    this.#player.scrollIntoView({ block: "nearest" });
    this.#player.play().catch((error: unknown) => console.warn("the recording does not play by itself:", error));
  }

  /** The browser does not say why: a file that is gone, or one that it does not play. */
  async #broken(): Promise<void> {
    const address = this.#player.getAttribute("src");
    if (address === null) return;
    const there = await this.on.exists(address);
    if (this.#player.getAttribute("src") !== address) return;
    if (there) return this.#say("This browser cannot play that recording; download it.", true);
    this.#stop();
    await this.#refresh();
    this.#say("That recording is no longer there.", true);
  }

  /** The second press does it: what is gone does not come back. */
  async #remove(entry: RecordingEntry, item: HTMLLIElement, button: HTMLButtonElement): Promise<void> {
    if (!button.classList.contains("sure")) {
      button.classList.add("sure");
      button.textContent = "Delete it?";
      clearTimeout(this.#doubt);
      this.#doubt = setTimeout(() => unsure(button), SURE_MS); // a finger's press gives no focus that could be lost
      return;
    }
    unsure(button);
    try {
      if (item.hasAttribute("aria-current")) this.#stop();
      await this.on.remove(entry.name);
      const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button");
      item.remove();
      this.#showCount(this.#list.childElementCount);
      (next ?? element("recordings-close", HTMLButtonElement)).focus();
      this.#say("Deleted.", false);
    } catch (error) {
      this.#say(sentence(error), true);
    }
  }

  #stop(): void {
    this.#player.removeAttribute("src");
    this.#player.load(); // lets go of the connection
    this.#player.hidden = true;
  }

  #say(text: string, warn: boolean): void {
    this.#note.textContent = text;
    this.#note.dataset["warn"] = String(warn);
  }
}

function made(tag: string, name: string, text: string): HTMLElement {
  const one = document.createElement(tag);
  one.className = name;
  one.textContent = text;
  return one;
}

function act(word: string, what: string | null): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = word;
  button.setAttribute("aria-label", `${word} ${what ?? ""}`);
  return button;
}

function unsure(button: HTMLButtonElement): void {
  button.classList.remove("sure");
  button.textContent = "Delete";
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Everybody who talked, by name. */
export function callers(talkers: readonly string[], isHere: (peer: string) => boolean): string[] {
  return [...new Set(talkers.map((peer) => (isHere(peer) ? "you" : shortName(peer))))];
}

/** @param names those who talked */
export function summary({ seconds, bytes, cutOff }: Pick<RecordingEntry, "seconds" | "bytes" | "cutOff">, names: readonly string[]): string {
  const shown = names.length > MOST_NAMED ? [...names.slice(0, MOST_NAMED - 1), `${names.length - MOST_NAMED + 1}\u00a0others`] : names;
  const who = shown.length === 0 ? "" : `${[shown.slice(0, -1).join(", "), shown.at(-1)].filter((part) => part !== "").join(" and ")} talked`;
  return [duration(seconds), size(bytes), who, cutOff ? "cut off when the device stopped" : ""].filter((part) => part !== "").join(" · ");
}

function duration(seconds: number | null): string {
  if (seconds === null) return "length unknown";
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours > 0) return `${hours}\u00a0h ${minutes}\u00a0min`;
  return minutes > 0 ? `${minutes}\u00a0min ${rest}\u00a0s` : `${rest}\u00a0s`;
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)}\u00a0GB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)}\u00a0MB`;
}

/** A question that nobody answers is taken back. */
const SURE_MS = 6000;
/** Several signs that something changed come at once. */
const SOON_MS = 300;
const FIRST_MS = 1500;
/** A list has room for so many; the others are counted. */
const MOST_NAMED = 3;
/** What the corner of an icon has room for. */
const MOST_SHOWN = 99;
