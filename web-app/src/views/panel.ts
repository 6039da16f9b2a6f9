/**
 * The statistics panel and the settings sheet. Enters: figures, while the panel is open. Leaves: the
 * question for figures once a second, and the wish to sign out. Never asks the browser itself.
 */
import { closesByEscape } from "../escape";
import type { Figures } from "../stats";
import { element } from "./elements";

export interface PanelEvents {
  figures(): Promise<Figures | null>;
  signOut(): void;
  settingsOpened(): void;
}

export class Panel {
  readonly #stats = element("stats", HTMLElement);
  readonly #statsToggle = element("stats-toggle", HTMLButtonElement);
  readonly #settings = element("settings", HTMLElement);
  readonly #settingsToggle = element("settings-toggle", HTMLButtonElement);
  readonly #signOut = element("sign-out", HTMLButtonElement);
  readonly #ownName = element("own-name", HTMLElement);
  readonly #viewers = element("viewers", HTMLElement);
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly on: PanelEvents) {
    this.#statsToggle.addEventListener("click", () => this.#showStats(this.#stats.hidden));
    this.#settingsToggle.addEventListener("click", () => this.#showSettings(this.#settings.hidden));
    this.#signOut.addEventListener("click", () => on.signOut());
    // The sheet stands on the bar and must not be higher than what is above it.
    new ResizeObserver(([stage]) => {
      if (stage) this.#settings.style.setProperty("--stage-height", `${stage.contentRect.height}px`);
    }).observe(element("stage", HTMLElement));
    document.addEventListener("pointerdown", (event) => {
      const inside = event.target instanceof Node && (this.#settings.contains(event.target) || this.#settingsToggle.contains(event.target));
      if (!inside) this.#showSettings(false);
    });
  }

  showViewers(count: number): void {
    this.#viewers.textContent = count > 1 ? `${count} watching` : "";
  }

  /** @param name what others read where this person is meant; null: nobody does, for there is no connection */
  showOwnName(name: string | null): void {
    this.#ownName.hidden = name === null;
    this.#ownName.replaceChildren("You are called ", Object.assign(document.createElement("strong"), { textContent: name }), " here.");
  }

  /** @param possible false where there is nothing to sign out of */
  showSignOut(possible: boolean): void {
    this.#signOut.hidden = !possible;
  }

  /** Without a word to the focus: what opens in their place takes it. */
  hideSettings(): void {
    if (!this.#settings.hidden) this.#showSettings(false);
  }

  readonly #closeSettings = () => {
    this.#showSettings(false);
    this.#settingsToggle.focus();
  };

  readonly #closeStats = () => this.#showStats(false);

  #showSettings(open: boolean): void {
    this.#settings.hidden = !open;
    closesByEscape(this.#closeSettings, open);
    this.#settingsToggle.setAttribute("aria-expanded", String(open));
    if (open) this.on.settingsOpened();
  }

  #showStats(open: boolean): void {
    this.#stats.hidden = !open;
    closesByEscape(this.#closeStats, open);
    this.#statsToggle.setAttribute("aria-expanded", String(open));
    clearInterval(this.#timer);
    if (!open) return;
    this.#timer = setInterval(() => void this.#refresh(), PERIOD_MS);
    void this.#refresh();
  }

  async #refresh(): Promise<void> {
    const figures = await this.on.figures();
    for (const cell of this.#stats.querySelectorAll<HTMLElement>("[data-stat]")) {
      cell.textContent = figures ? text(figures, cell.dataset["stat"] as keyof Figures) : NOTHING;
    }
  }
}

function text(figures: Figures, name: keyof Figures): string {
  const value = figures[name];
  if (value === null) return NOTHING;
  if (typeof value === "string") return value;
  switch (name) {
    case "fps":
      return value.toFixed(0);
    case "bitrate":
      return value >= 1000 ? `${(value / 1000).toFixed(2)} Mbit/s` : `${value.toFixed(0)} kbit/s`;
    case "loss":
      return `${value.toFixed(1)} %`;
    default:
      return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  }
}

const NOTHING = "–";
const PERIOD_MS = 1000;
