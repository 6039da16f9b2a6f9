/**
 * Sources, speaker, volumes. Enters: what is in force, the devices there are. Leaves: the wish to change one thing.
 * Never shows a change that the service has not made.
 */
import type { Changes } from "../generated/Changes";
import type { DeviceChoice } from "../generated/DeviceChoice";
import type { Devices } from "../generated/Devices";
import type { Present } from "../generated/Present";
import { element, setPressed } from "./elements";

export interface SteeringEvents {
  /** Resolves with what is in force then; throws an Error with a sentence to show. */
  steer(changes: Changes): Promise<Present>;
}

type Place = "video" | "audio" | "sound";
type Volume = "deviceVolume" | "talkVolume";
type Mute = "deviceMuted" | "talkMuted";

export class SteeringView {
  readonly #root = element("owner-steering", HTMLElement);
  readonly #error = element("steering-error", HTMLElement);
  #devices: Devices = { cameras: [], microphones: [], speakers: [] };
  #present: Present | null = null;

  constructor(private readonly on: SteeringEvents) {
    for (const { place, select, row } of this.#choices()) {
      select.addEventListener("change", () => {
        row.querySelector("form")?.remove();
        if (select.value === OTHER) this.#ask(place, row, select);
        else void this.#steer({ [place]: select.value });
      });
    }
    for (const { volume, mute, range, button, output } of this.#levels()) {
      range.addEventListener("input", () => (output.textContent = `${range.value} %`));
      range.addEventListener("change", () => void this.#steer({ [volume]: Number(range.value) / 100 }));
      button.addEventListener("click", () => void this.#steer({ [mute]: button.getAttribute("aria-pressed") !== "true" }));
    }
  }

  choices(devices: Devices): void {
    this.#devices = devices;
    if (this.#present) this.show(this.#present);
  }

  show(present: Present): void {
    this.#present = present;
    for (const { place, select, row } of this.#choices()) {
      const setting = present[place];
      fill(select, options(place, this.#devices), [setting.value, setting.configured], setting.value);
      select.title = setting.value;
      this.#note(row, setting.changed ? setting.configured : null, () => this.#steer({ [place]: setting.configured }));
    }
    for (const { volume, mute, range, button, output } of this.#levels()) {
      const percent = String(Math.round(present[volume].value * 100));
      if (document.activeElement !== range || range.value === percent) {
        range.value = percent;
        output.textContent = `${percent} %`;
      }
      setPressed(button, present[mute].value);
      button.textContent = present[mute].value ? "Muted" : "Mute";
    }
  }

  async #steer(changes: Changes): Promise<void> {
    this.#error.textContent = "";
    this.#root.setAttribute("aria-busy", "true");
    try {
      this.show(await this.on.steer(changes));
    } catch (error) {
      this.#error.textContent = error instanceof Error ? error.message : String(error);
      if (this.#present) this.show(this.#present);
    } finally {
      this.#root.removeAttribute("aria-busy");
    }
  }

  /** A source that no list has: a file, an image, a text to speak. */
  #ask(place: Place, row: HTMLElement, select: HTMLSelectElement): void {
    const form = document.createElement("form");
    const input = document.createElement("input");
    input.type = "text";
    input.required = true;
    input.placeholder = PLACEHOLDERS[place];
    input.setAttribute("aria-label", `Other ${place}`);
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = "Set";
    form.append(input, button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#steer({ [place]: input.value.trim() }).then(() => {
        if (this.#error.textContent === "") form.remove();
      });
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // the panel stays
      form.remove();
      this.#error.textContent = "";
      if (this.#present) this.show(this.#present);
      select.focus();
    });
    row.append(form);
    input.focus();
  }

  /** What the configuration says, and the way back to it. */
  #note(row: HTMLElement, configured: string | null, undo: () => Promise<void>): void {
    row.querySelector("small")?.remove();
    if (configured === null) return;
    const note = document.createElement("small");
    const back = document.createElement("button");
    back.type = "button";
    back.className = "link";
    back.textContent = "Undo";
    back.addEventListener("click", () => void undo());
    note.append(`Changed here; the configuration says ${configured}. `, back);
    row.append(note);
  }

  #choices(): { place: Place; select: HTMLSelectElement; row: HTMLElement }[] {
    return (["video", "audio", "sound"] as const).map((place) => {
      const select = element(`steer-${place}`, HTMLSelectElement);
      return { place, select, row: select.parentElement as HTMLElement };
    });
  }

  #levels() {
    const level = (volume: Volume, mute: Mute, id: string) => {
      const range = element(id, HTMLInputElement);
      const row = range.parentElement as HTMLElement;
      const [button, output] = [row.querySelector("button"), row.querySelector("output")];
      if (!button || !output) throw new Error("a volume has no button or no figure");
      return { volume, mute, range, button, output };
    };
    return [level("deviceVolume", "deviceMuted", "steer-device-volume"), level("talkVolume", "talkMuted", "steer-talk-volume")];
  }
}

function options(place: Place, devices: Devices): [string, string][] {
  const of = (kind: string, list: readonly DeviceChoice[]): [string, string][] =>
    list.length === 0 ? [] : [[`${kind}:auto`, `Any ${kind}`], ...list.map(({ name, description }): [string, string] => [`${kind}:${name}`, description])];
  switch (place) {
    case "video":
      return [...of("camera", devices.cameras), ["test", "Test picture"]];
    case "audio":
      return [...of("microphone", devices.microphones), ["test", "Test tone"], ["silence", "Silence"]];
    case "sound":
      return [...of("speaker", devices.speakers), ["discard", "Nowhere"]];
  }
}

function fill(select: HTMLSelectElement, known: readonly [string, string][], also: readonly string[], chosen: string): void {
  const all = [...known];
  for (const value of also) if (!all.some(([name]) => name === value)) all.push([value, words(value)]);
  const wanted = [...all, [OTHER, "Other…"]].map(([value, text]) => new Option(text, value));
  const same = select.options.length === wanted.length && wanted.every((option, at) => select.options[at]?.value === option.value && select.options[at]?.text === option.text);
  if (!same) select.replaceChildren(...wanted);
  select.value = chosen;
}

/** A value that no list has, for people: the name of a file without its folders. */
function words(value: string): string {
  const [kind, rest] = [value.slice(0, value.indexOf(":")), value.slice(value.indexOf(":") + 1)];
  if (kind === "file" || kind === "image") return `${kind === "file" ? "File" : "Image"} ${rest.slice(rest.lastIndexOf("/") + 1)}`;
  return kind === "speech" ? `Speech “${rest}”` : value;
}

const OTHER = "\u0000other";
const PLACEHOLDERS = { video: "camera:NAME, or file:/path of a clip", audio: "speech:words, or file:/path of a clip", sound: "speaker:NAME" } as const;
