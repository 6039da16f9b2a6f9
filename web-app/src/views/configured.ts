/** The configuration with the origin of each value. Enters: its keys. Leaves: nothing. Never changes one. */
import type { ConfiguredKey } from "../generated/ConfiguredKey";
import { element } from "./elements";

export class Configured {
  readonly #list = element("configuration", HTMLDListElement);
  readonly #given = element("configuration-given", HTMLInputElement);
  #keys: readonly ConfiguredKey[] = [];

  constructor() {
    this.#given.addEventListener("change", () => this.show(this.#keys));
  }

  show(keys: readonly ConfiguredKey[]): void {
    this.#keys = keys;
    const wanted = keys.filter((key) => !this.#given.checked || key.origin !== "default");
    this.#list.replaceChildren(...wanted.map(row));
    if (wanted.length === 0) this.#list.textContent = "Everything is as delivered.";
  }
}

/** Where a value comes from, in words. */
export function place({ origin, configured }: Pick<ConfiguredKey, "origin" | "configured">): string {
  if (configured !== null) return `changed while running, kept in ${origin}; the configuration says ${configured === "" ? "nothing" : configured}`;
  return origin === "default" ? "default" : `from ${origin}`;
}

function row(key: ConfiguredKey): HTMLElement {
  const [line, name, value, origin] = [document.createElement("div"), document.createElement("dt"), document.createElement("dd"), document.createElement("small")];
  name.textContent = key.key;
  name.title = key.help;
  value.textContent = key.value === "" ? "empty" : key.value;
  origin.textContent = place(key);
  value.append(origin);
  line.append(name, value);
  return line;
}
