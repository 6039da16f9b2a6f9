/**
 * The owner's list of recordings, and how many are complete, on the control that opens it. Enters: the list. Leaves: the wish to
 * have it, again and again while it is open, for nobody tells of what another owner deletes; the wish to delete one. Never
 * fetches anything itself but by the addresses it is given.
 */
import type { RecordingEntry } from "../generated/RecordingEntry";
import { element } from "./elements";
import { RecordingRow } from "./recording-row";

export interface RecordingsEvents {
  list(): Promise<RecordingEntry[]>;
  remove(name: string): Promise<void>;
  /** Where the file of that name is. */
  address(name: string): string;
  /** Whether there is a file at that address; true as well when the device does not answer. */
  exists(address: string): Promise<boolean>;
  /** Whether it was refused because there is no such recording. */
  isGone(refused: unknown): boolean;
  /** How long the recording under way has run, milliseconds; null: there is none. */
  runs(): number | null;
  /** One of them is being played, or (false) no longer. */
  plays(on: boolean): void;
  /** Whether that peer is this page. */
  isHere(peer: string): boolean;
}

export class Recordings {
  readonly #dialog = element("recordings", HTMLDialogElement);
  readonly #open = element("recordings-open", HTMLButtonElement);
  readonly #close = element("recordings-close", HTMLButtonElement);
  readonly #player = element("recordings-player", HTMLVideoElement);
  readonly #note = element("recordings-note", HTMLElement);
  readonly #list = element("recordings-list", HTMLUListElement);
  readonly #count = element("recordings-count", HTMLElement);
  #owner = false;
  #known = false;
  #soon: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  /** Counts what was asked and what was deleted: an answer is old once there is a later one of either. */
  #asked = 0;
  readonly #rows = new Map<string, RecordingRow>();
  /** What the note says is about the list, not about what was done with one of it. */
  #ofList = false;

  constructor(private readonly on: RecordingsEvents) {
    this.#open.addEventListener("click", () => {
      this.#say("Loading the list.", false, true);
      this.#dialog.showModal();
      void this.#refresh();
    });
    this.#close.addEventListener("click", () => this.#dialog.close());
    // A press beside it closes it, as with the settings.
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      clearTimeout(this.#again);
      this.#stop();
    });
    const plays = () => this.on.plays(!this.#player.paused && !this.#player.ended && !this.#player.error);
    for (const sign of ["play", "pause", "ended", "emptied", "error"]) this.#player.addEventListener(sign, plays);
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

  /** The recording under way has run so many milliseconds. */
  passed(runs: number): void {
    if (this.#dialog.open) for (const row of this.#rows.values()) row.passed(runs);
  }

  /** A recording began or ended, or may have. */
  changed(): void {
    clearTimeout(this.#soon);
    if (!this.#owner) return;
    if (this.#dialog.open) return void this.#refresh();
    // At first the call comes before the number of what there is besides.
    this.#soon = setTimeout(() => void this.#refresh(), this.#known ? SOON_MS : FIRST_MS);
  }

  /** One that is still being written is none to play yet. */
  #countRows(): void {
    this.#showCount([...this.#rows.values()].filter((row) => !row.running).length);
  }

  #showCount(count: number): void {
    this.#count.textContent = count === 0 ? "" : count > MOST_SHOWN ? `${MOST_SHOWN}+` : String(count);
    const name = count === 0 ? "Recordings" : `Recordings (${count})`;
    this.#open.setAttribute("aria-label", name);
    this.#open.title = name;
  }

  async #refresh(): Promise<void> {
    const asked = ++this.#asked;
    try {
      const entries = await this.on.list();
      if (!this.#owner || asked !== this.#asked) return;
      this.#known = true;
      this.#show(entries);
      if (this.#ofList || entries.length === 0) this.#say(entries.length === 0 ? NONE : "", false, true);
    } catch (error) {
      this.#say(sentence(error), true, true);
    }
    this.#lookAgain();
  }

  #lookAgain(): void {
    clearTimeout(this.#again);
    const runs = [...this.#rows.values()].some((row) => row.running);
    if (this.#dialog.open) this.#again = setTimeout(() => void this.#refresh(), runs ? RUNNING_MS : OPEN_MS);
  }

  /** The newest first. */
  #show(entries: readonly RecordingEntry[]): void {
    const gone = [...this.#rows.values()].filter((row) => !entries.some((entry) => entry.name === row.name));
    for (const row of gone) this.#drop(row);
    const runs = this.on.runs();
    entries.forEach((entry, at) => {
      const row = this.#rows.get(entry.name) ?? this.#row(entry);
      row.show(entry, runs);
      if (this.#list.children[at] !== row.item) this.#list.insertBefore(row.item, this.#list.children[at] ?? null);
    });
    this.#countRows();
  }

  #row(entry: RecordingEntry): RecordingRow {
    const row = new RecordingRow(entry, {
      play: (played) => this.#play(played),
      remove: (removed) => void this.#remove(removed),
      address: (name) => this.on.address(name),
      isHere: (peer) => this.on.isHere(peer),
    });
    this.#rows.set(entry.name, row);
    return row;
  }

  /** The focus goes to a neighbour. */
  #drop(row: RecordingRow): void {
    const { item } = row;
    const next = item.contains(document.activeElement) ? (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button") ?? this.#close : null;
    item.remove();
    this.#rows.delete(row.name);
    next?.focus();
  }

  #play({ item, name }: RecordingRow): void {
    for (const other of this.#list.children) other.removeAttribute("aria-current");
    item.setAttribute("aria-current", "true");
    this.#say("", false);
    this.#player.hidden = false;
    this.#player.src = this.on.address(name);
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
    this.#say(GONE, true);
  }

  async #remove(row: RecordingRow): Promise<void> {
    try {
      if (row.item.hasAttribute("aria-current")) this.#stop();
      await this.on.remove(row.name);
      this.#asked += 1; // whoever was asked before still knows of it
      this.#drop(row);
      this.#lookAgain();
      this.#countRows();
      this.#say("Deleted.", false);
    } catch (error) {
      if (!this.on.isGone(error)) return this.#say(sentence(error), true);
      await this.#refresh();
      this.#say(GONE, true);
    }
  }

  #stop(): void {
    this.#player.removeAttribute("src");
    this.#player.load(); // lets go of the connection
    this.#player.hidden = true;
  }

  #say(text: string, warn: boolean, ofList = false): void {
    this.#ofList = ofList;
    if (this.#note.textContent === text) return; // a live region speaks at every write
    this.#note.textContent = text;
    this.#note.dataset["warn"] = String(warn);
  }
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const NONE = "There is none yet. The button with the red dot makes one.";
const GONE = "That recording is no longer there.";
/** Several signs that something changed come at once. */
const SOON_MS = 300;
const FIRST_MS = 1500;
/** How often an open list is looked at anew, also while one of it grows. */
const OPEN_MS = 10_000;
const RUNNING_MS = 5000;
/** What the corner of an icon has room for. */
const MOST_SHOWN = 99;
