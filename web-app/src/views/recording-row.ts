/**
 * One recording in the owner's list: when, how long, how large, who; play, download, delete. Enters: what is known of it, how long
 * it has run while it is written. Leaves: the wish to play or to delete it. Never another element for the same recording: a press
 * on it, or the focus, is not lost when the list is looked at anew.
 */
import type { RecordingEntry } from "../generated/RecordingEntry";
import { shortName } from "../names";
import { dated } from "../time";

export interface RowEvents {
  play(row: RecordingRow): void;
  /** After the second press. */
  remove(row: RecordingRow): void;
  /** Where the file of that name is. */
  address(name: string): string;
  /** Whether that peer is this page. */
  isHere(peer: string): boolean;
}

export class RecordingRow {
  readonly item = document.createElement("li");
  readonly #what = made("p", "what", "");
  readonly #live = made("span", "live", "Recording now");
  readonly #remove: HTMLButtonElement;
  #doubt: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private entry: RecordingEntry,
    private readonly on: RowEvents,
  ) {
    const when = made("p", "when", entry.began === null ? "At an unknown time" : dated(Date.parse(entry.began)));
    when.title = `File ${entry.name}; the time in its name is UTC`;
    const acts = made("div", "acts", "");
    const play = act("Play", when.textContent);
    play.addEventListener("click", () => on.play(this));
    const download = document.createElement("a");
    download.href = on.address(entry.name);
    download.download = entry.name;
    download.textContent = "Download";
    download.setAttribute("aria-label", `Download ${when.textContent}`);
    this.#remove = act("Delete", when.textContent);
    this.#remove.addEventListener("click", () => this.#ask());
    this.#remove.addEventListener("blur", () => this.#unsure());
    acts.append(play, download, this.#remove);
    this.item.append(when, this.#what, acts);
    this.show(entry, null);
  }

  get name(): string {
    return this.entry.name;
  }

  /** It is being written. */
  get running(): boolean {
    return this.entry.recording;
  }

  /** @param runs milliseconds that the recording under way has run; null: there is none, or nobody says */
  show(entry: RecordingEntry, runs: number | null): void {
    this.entry = entry;
    const names = callers(entry.talkers, (peer) => this.on.isHere(peer));
    const seconds = entry.recording && runs !== null ? Math.floor(runs / 1000) : entry.seconds;
    this.#what.replaceChildren(...(entry.recording ? [this.#live, " · "] : []), summary({ ...entry, seconds }, names));
    this.#what.title = names.length > MOST_NAMED ? `${names.join(", ")} talked` : "";
    this.#remove.disabled = entry.recording;
  }

  passed(runs: number): void {
    if (this.running) this.show(this.entry, runs);
  }

  /** The second press does it: what is gone does not come back. */
  #ask(): void {
    if (this.#remove.classList.contains("sure")) {
      this.#unsure();
      return this.on.remove(this);
    }
    this.#remove.classList.add("sure");
    this.#remove.textContent = "Delete it?";
    clearTimeout(this.#doubt);
    this.#doubt = setTimeout(() => this.#unsure(), SURE_MS); // a finger's press gives no focus that could be lost
  }

  #unsure(): void {
    this.#remove.classList.remove("sure");
    this.#remove.textContent = "Delete";
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
/** A list has room for so many; the others are counted. */
const MOST_NAMED = 3;
