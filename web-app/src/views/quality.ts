/**
 * The choice of picture quality and the word for the present one. Enters: where the viewer stands. Leaves: what the
 * person chooses. Never knows about links or sizes.
 */
import type { Quality } from "../generated/Quality";
import type { QualityState } from "../generated/QualityState";
import { element } from "./elements";

export class QualityChoice {
  readonly #field = element("quality-field", HTMLElement);
  readonly #select = element("quality", HTMLSelectElement);
  readonly #medium = element("quality-medium", HTMLOptionElement);
  readonly #present = element("quality-present", HTMLElement);

  constructor(choose: (quality: Quality) => void) {
    const kept = sessionStorage.getItem(KEPT);
    if ([...this.#select.options].some((option) => option.value === kept)) this.#select.value = kept ?? "";
    this.#select.addEventListener("change", () => {
      sessionStorage.setItem(KEPT, this.wanted);
      choose(this.wanted);
    });
  }

  /** What the person chose; it outlives the connection, and a reload of the page in this tab. */
  get wanted(): Quality {
    return this.#select.value as Quality;
  }

  show(state: QualityState): void {
    this.#field.hidden = state.rungs < 2;
    this.#medium.hidden = this.#medium.disabled = state.rungs < 3;
    this.#present.textContent = words(state);
  }
}

export function words(state: QualityState): string {
  const rung = state.rung === 0 ? "High" : state.rung === state.rungs - 1 ? "Low" : "Medium";
  return state.choice === "auto" && state.rungs > 1 ? `${rung}, automatic` : rung;
}

const KEPT = "duplex.quality";
