/**
 * Sources, speaker, volumes. Enters: what is in force, the devices there are. Leaves: the wish to change one thing.
 * Never shows a change that the service has not made.
 */
import type { Changes } from "../generated/Changes";
import type { DeviceChoice } from "../generated/DeviceChoice";
import type { Devices } from "../generated/Devices";
import type { Present } from "../generated/Present";
import { plain } from "../sentences";
import { element, setPressed } from "./elements";

export interface SteeringEvents {
  /** Resolves with what is in force then; throws an Error with a sentence to show. */
  steer(changes: Changes): Promise<Present>;
}

type Place = "video" | "audio" | "sound";
type Volume = "deviceVolume" | "talkVolume";
type Mute = "deviceMuted" | "talkMuted";

interface Field {
  form: HTMLFormElement;
  input: HTMLInputElement;
  /** Why what is typed was refused. */
  wrong: HTMLElement;
  /** What is in force: the list cannot say it while it says "Other…". */
  now: HTMLElement;
  /** What was in force when it was opened. */
  beside: string;
}

export class SteeringView {
  readonly #root = element("owner-steering", HTMLElement);
  readonly #error = element("steering-error", HTMLElement);
  #devices: Devices = { cameras: [], microphones: [], speakers: [], incomplete: false };
  #present: Present | null = null;
  // The volume that is being moved: what the device says of it meanwhile is older than the hand.
  #moved: HTMLInputElement | null = null;
  // What was said of the value that was set last.
  readonly #remarks = new Map<Place, { value: string; text: string }>();
  // The open fields for a source that no list has.
  readonly #fields = new Map<Place, Field>();

  constructor(private readonly on: SteeringEvents) {
    for (const { place, select } of this.#choices()) {
      select.addEventListener("change", () => {
        if (select.value === OTHER) return this.#ask(place, select);
        this.#leave(place);
        void this.#steer({ [place]: select.value });
      });
    }
    for (const { volume, mute, range, button, output } of this.#levels()) {
      range.addEventListener("input", () => {
        this.#moved = range;
        output.textContent = `${range.value} %`;
      });
      range.addEventListener("change", () => {
        this.#moved = null;
        void this.#steer({ [volume]: Number(range.value) / 100 });
      });
      // A hand that ends where it began changes nothing, and browsers then say nothing of it.
      for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) {
        range.addEventListener(end, () => {
          if (this.#moved === range) this.#moved = null;
        });
      }
      button.addEventListener("click", () => void this.#steer({ [mute]: button.getAttribute("aria-pressed") !== "true" }));
    }
  }

  choices(devices: Devices): void {
    this.#devices = devices;
    if (this.#present) this.#draw(this.#present);
  }

  show(present: Present): void {
    this.#error.textContent = ""; // it was about what stood there before
    this.#draw(present);
  }

  #draw(present: Present): void {
    this.#present = present;
    for (const { place, select, row } of this.#choices()) {
      const setting = present[place];
      const field = this.#fields.get(place);
      // Nothing is typed, and what it was opened beside is past.
      if (field && field.input.value.trim() === "" && field.beside !== setting.value) this.#leave(place);
      fill(select, options(place, this.#devices), [setting.value, setting.configured], this.#fields.has(place) ? OTHER : setting.value);
      if (field) field.now.textContent = `Now: ${[...select.options].find(({ value }) => value === setting.value)?.text ?? setting.value}`;
      select.title = setting.value;
      this.#note(row, setting.changed ? setting.configured : null, () => this.#steer({ [place]: setting.configured }));
      this.#remark(place, row, setting.value);
    }
    for (const { volume, mute, range, button, output } of this.#levels()) {
      const percent = String(Math.round(present[volume].value * 100));
      if (this.#moved !== range) {
        range.value = percent;
        output.textContent = `${percent} %`;
      }
      setPressed(button, present[mute].value);
      button.textContent = present[mute].value ? "Muted" : "Mute";
    }
  }

  /**
   * @param refused gets the reason
   * @returns whether it was done
   */
  async #steer(changes: Changes, refused = (reason: string) => this.#say(reason)): Promise<boolean> {
    this.#error.textContent = "";
    this.#root.setAttribute("aria-busy", "true");
    try {
      const present = await this.on.steer(changes);
      for (const place of PLACES) {
        const note = present.notes.find(({ key }) => key === place);
        if (note) this.#remarks.set(place, { value: present[place].value, text: plain(note.text) });
      }
      this.show(present);
      return true;
    } catch (error) {
      refused(plain(error instanceof Error ? error.message : String(error)));
      if (this.#present) this.#draw(this.#present);
      return false;
    } finally {
      this.#root.removeAttribute("aria-busy");
    }
  }

  #say(reason: string): void {
    this.#error.textContent = reason;
    this.#error.scrollIntoView({ block: "nearest" });
  }

  /** A source that no list has: typed in a field that is there as long as the list says "Other…", and stays with what is refused. */
  #ask(place: Place, select: HTMLSelectElement): void {
    const field = this.#fields.get(place) ?? this.#open(place, select);
    field.input.focus();
    field.input.select();
  }

  #open(place: Place, select: HTMLSelectElement): Field {
    const { hint, example } = OTHERS[place];
    const input = document.createElement("input");
    input.type = "text";
    input.placeholder = example;
    input.setAttribute("aria-label", `Other ${place}`);
    input.setAttribute("aria-describedby", ["error", "now", "hint"].map((part) => `steer-${place}-${part}`).join(" "));
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = "Set";
    const [wrong, now, help] = [line(place, "error", ""), line(place, "now", ""), line(place, "hint", hint)];
    wrong.className = "error";
    wrong.setAttribute("role", "alert");
    const form = document.createElement("form");
    form.noValidate = true; // the browser's own word says only that something is missing
    form.append(input, button, wrong, now, help);
    const field = { form, input, wrong, now, beside: this.#present?.[place].value ?? "" };
    this.#fields.set(place, field);
    input.addEventListener("input", () => {
      wrong.textContent = "";
      input.removeAttribute("aria-invalid");
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // closes the field, not the panel
      this.#leave(place);
      if (this.#present) this.#draw(this.#present);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit(place, field);
    });
    select.after(form);
    if (this.#present) this.#draw(this.#present);
    return field;
  }

  async #submit(place: Place, field: Field): Promise<void> {
    const { form, input } = field;
    const refuse = (reason: string) => {
      if (!form.isConnected) return this.#say(reason);
      field.wrong.textContent = reason;
      input.setAttribute("aria-invalid", "true");
      input.focus();
    };
    const wanted = input.value.trim();
    if (wanted === "") return refuse(`Write first ${OTHERS[place].wanted}, such as ${OTHERS[place].example}.`);
    if (!(await this.#steer({ [place]: wanted }, refuse)) || !form.isConnected) return;
    this.#leave(place);
    if (this.#present) this.#draw(this.#present);
  }

  /** The list gets the focus if the field had it. */
  #leave(place: Place): void {
    const form = this.#fields.get(place)?.form;
    if (!form) return;
    if (form.contains(document.activeElement)) element(`steer-${place}`, HTMLSelectElement).focus();
    form.remove();
    this.#fields.delete(place);
  }

  /** That a device is not there now, as long as the list has not got it. */
  #remark(place: Place, row: HTMLElement, value: string): void {
    const remark = this.#remarks.get(place);
    const stands = remark?.value === value && !options(place, this.#devices).some(([name]) => name === value);
    if (!stands) this.#remarks.delete(place);
    let shown = row.querySelector<HTMLElement>(".remark");
    if (!shown) {
      shown = document.createElement("p");
      shown.className = "remark";
      shown.setAttribute("role", "status");
      row.append(shown);
    }
    const text = stands ? remark.text : "";
    if (shown.textContent !== text) shown.textContent = text;
  }

  /** What the configuration says, and the way back to it. */
  #note(row: HTMLElement, configured: string | null, undo: () => Promise<boolean>): void {
    row.querySelector("small")?.remove();
    if (configured === null) return;
    const note = document.createElement("small");
    const back = document.createElement("button");
    back.type = "button";
    back.className = "link";
    back.textContent = "Undo";
    back.addEventListener("click", () => void undo());
    note.append(`Changed while running; the configuration says ${configured}. `, back);
    row.append(note);
  }

  #choices(): { place: Place; select: HTMLSelectElement; row: HTMLElement }[] {
    return PLACES.map((place) => {
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

function line(place: Place, part: string, text: string): HTMLElement {
  const one = document.createElement("p");
  one.id = `steer-${place}-${part}`;
  one.textContent = text;
  return one;
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
  if (kind === "speech") return `Speech “${rest}”`;
  return rest === "auto" ? `Any ${kind}` : value;
}

const PLACES = ["video", "audio", "sound"] as const;
const OTHER = "\u0000other";
/** From here only those files are taken that the configuration names, and the clips. */
const OTHERS = {
  video: { wanted: "where the picture is to come from", example: "camera:NAME", hint: "A camera by its name. Of files only clips, as file:/PATH; others are set on the device, with “duplex source set”." },
  audio: { wanted: "where the sound is to come from", example: "speech:words to say", hint: "A text to say, or a microphone by its name. Of files only clips, as file:/PATH; others are set on the device, with “duplex source set”." },
  sound: { wanted: "where the talker is to be heard", example: "speaker:NAME", hint: "A speaker by its name. Files are set on the device, with “duplex sound set”." },
} as const;
