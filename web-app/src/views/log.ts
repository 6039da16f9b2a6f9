/** The log. Enters: lines. Leaves: nothing. Keeps the end in sight unless the person has scrolled away from it. */
import type { LogLine } from "../generated/LogLine";
import { clock } from "../time";
import { element } from "./elements";

export class LogView {
  readonly #list = element("log", HTMLOListElement);
  readonly #grave = element("log-grave", HTMLInputElement);

  constructor() {
    this.#grave.addEventListener("change", () => {
      this.#list.toggleAttribute("data-grave", this.#grave.checked);
      this.#list.scrollTop = this.#list.scrollHeight;
    });
  }

  add(line: LogLine): void {
    const list = this.#list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX;
    const item = document.createElement("li");
    item.dataset["level"] = line.level;
    const time = document.createElement("time");
    const when = new Date(line.time);
    time.dateTime = when.toISOString();
    time.textContent = clock(line.time);
    item.append(time, ` ${LEVELS[line.level]}${line.text}`);
    list.append(item);
    while (list.childElementCount > KEPT) list.firstElementChild?.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  clear(): void {
    this.#list.replaceChildren();
  }
}

const LEVELS = { error: "Error: ", warn: "Warning: ", info: "", debug: "", trace: "" } as const;
const KEPT = 500;
const NEAR_PX = 24;
