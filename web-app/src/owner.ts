/**
 * The owner's panel, loaded when it is opened for the first time. Enters: the service's owner interface, signs that
 * something changed. Leaves: its views, fed while they are open. Never touches the call: it talks to the service only.
 */
import markup from "./owner.html?raw";
import "./owner.css";
import { closesByEscape } from "./escape";
import { ApiFailure } from "./api";
import type { Passwords as Known } from "./generated/Passwords";
import type { Role } from "./generated/Role";
import * as api from "./owner-api";
import { element } from "./views/elements";
import { Certificate } from "./views/certificate";
import { Configured } from "./views/configured";
import { Device } from "./views/device";
import { LogView } from "./views/log";
import { Passwords, type About } from "./views/passwords";
import { People } from "./views/people";
import { SteeringView } from "./views/steering";

export class Owner {
  readonly #panel: HTMLElement;
  readonly #verdict: HTMLElement;
  readonly #steering: SteeringView;
  readonly #people: People;
  readonly #passwords: Passwords;
  readonly #device: Device;
  readonly #certificate: Certificate;
  readonly #log: LogView;
  readonly #configured: Configured;
  #timer: ReturnType<typeof setInterval> | undefined;
  #soon: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  #stopLog: (() => void) | null = null;
  #lastLine = 0;
  // Counts the changes of passwords: a list asked for before one of them is older than it.
  #passwordChanges = 0;

  /**
   * @param opener gets the focus back
   * @param ownPeer the signalling peer of this page, if it has one
   * @param signInLess nobody signs in on this device
   * @param signInChanged this browser's own sign-in is another one now
   */
  constructor(
    private readonly opener: HTMLElement,
    private readonly ownPeer: () => string | null,
    private readonly signInLess: () => boolean,
    private readonly signInChanged: () => void,
  ) {
    element("app", HTMLElement).insertAdjacentHTML("beforeend", markup);
    this.#panel = element("owner", HTMLElement);
    this.#verdict = element("owner-verdict", HTMLElement);
    this.#steering = new SteeringView({ steer: (changes) => api.steer(changes) });
    this.#people = new People({
      end: async (id) => {
        await api.endSession(id);
        await this.#refreshPeople();
      },
    });
    this.#passwords = new Passwords({
      set: (request) => this.#change(request.role, api.setPassword(request)),
      remove: (request) => this.#change(request.role, api.removePassword(request)),
      about: (refused) => (refused instanceof ApiFailure ? ABOUT[refused.code] ?? null : null),
    });
    this.#device = new Device();
    this.#certificate = new Certificate();
    this.#log = new LogView();
    this.#configured = new Configured();
    element("owner-close", HTMLButtonElement).addEventListener("click", () => this.close());
    this.#logDetails.addEventListener("toggle", () => this.#followLog());
    element("configuration-details", HTMLDetailsElement).addEventListener("toggle", () => this.#attempt(this.#refreshConfiguration()));
    this.#panel.hidden = true;
  }

  get isOpen(): boolean {
    return !this.#panel.hidden;
  }

  open(): void {
    this.#show(true);
    this.#panel.focus({ preventScroll: true });
    this.#refreshAll();
    this.#followLog();
    this.#timer = setInterval(() => {
      if (document.visibilityState === "visible") this.#refresh();
    }, PERIOD_MS);
  }

  close(): void {
    if (!this.isOpen) return;
    const focused = this.#panel.contains(document.activeElement);
    this.#show(false);
    clearInterval(this.#timer);
    this.#followLog();
    if (focused) this.opener.focus();
  }

  /** The service may have been started anew, with another configuration: all that is shown is asked for again. */
  reconnected(): void {
    if (!this.isOpen) return;
    this.#refreshAll();
  }

  /** Somebody came, left, or took the turn. Several such signs come at once. */
  peopleChanged(): void {
    if (!this.isOpen) return;
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#attempt(this.#refreshPeople()), SOON_MS);
  }

  /** Somebody changed sources or volumes. */
  steered(): void {
    if (!this.isOpen) return;
    this.#attempt(api.steering().then((present) => this.#steering.show(present)));
    this.#attempt(this.#refreshConfiguration());
  }

  get #logDetails(): HTMLDetailsElement {
    return element("log-details", HTMLDetailsElement);
  }

  readonly #close = () => this.close();

  #show(open: boolean): void {
    this.#panel.hidden = !open;
    closesByEscape(this.#close, open);
    this.opener.setAttribute("aria-expanded", String(open));
    element("app", HTMLElement).toggleAttribute("data-panel", open);
  }

  #refreshAll(): void {
    this.#refresh();
    this.#attempt(this.#refreshChoices());
    this.#attempt(this.#refreshCertificate());
    this.#attempt(this.#refreshConfiguration());
  }

  #refresh(): void {
    this.#attempt(this.#refreshPeople());
    this.#attempt(this.#refreshPasswords());
    this.#attempt(this.#refreshDevice());
  }

  async #refreshPeople(): Promise<void> {
    this.#people.show((await api.sessions()).sessions, this.ownPeer(), this.signInLess());
  }

  async #refreshPasswords(): Promise<void> {
    const asked = this.#passwordChanges;
    const { roles } = await api.passwords();
    if (asked === this.#passwordChanges) this.#passwords.show(roles);
  }

  async #change(role: Role, asked: Promise<Known>): Promise<Known["roles"]> {
    const { roles } = await asked;
    this.#passwordChanges += 1;
    if (role === "owner") this.signInChanged();
    return roles;
  }

  async #refreshDevice(): Promise<void> {
    const health = await api.device();
    this.#device.show(health);
    const wrong = health.problems.length + health.faults.length;
    this.#say(wrong === 0 ? "All is well" : wrong === 1 ? "One thing fails" : `${wrong} things fail`, wrong > 0);
  }

  async #refreshChoices(): Promise<void> {
    const [present, devices] = await Promise.all([api.steering(), api.devices()]);
    this.#steering.choices(devices);
    this.#steering.show(present);
    clearTimeout(this.#again);
    if (!devices.incomplete) return;
    this.#again = setTimeout(() => {
      if (this.isOpen) this.#attempt(this.#refreshChoices());
    }, PERIOD_MS);
  }

  async #refreshCertificate(): Promise<void> {
    this.#certificate.show(await api.certificate());
  }

  async #refreshConfiguration(): Promise<void> {
    if (element("configuration-details", HTMLDetailsElement).open) this.#configured.show((await api.configuration()).keys);
  }

  /** The log runs only while somebody looks at it. */
  #followLog(): void {
    const wanted = this.isOpen && this.#logDetails.open;
    if (wanted === (this.#stopLog !== null)) return;
    this.#stopLog?.();
    this.#stopLog = null;
    if (!wanted) return;
    this.#stopLog = api.log(
      () => this.#lastLine,
      (line) => {
        if (line.number < this.#lastLine) this.#log.clear(); // the service was started anew
        this.#lastLine = line.number;
        this.#log.add(line);
      },
      () => (this.#lastLine = 0),
    );
  }

  #attempt(work: Promise<void>): void {
    work.catch((error: unknown) => this.#say(error instanceof Error ? error.message : String(error), true));
  }

  #say(text: string, warn: boolean): void {
    if (this.#verdict.textContent !== text) this.#verdict.textContent = text;
    this.#verdict.dataset["warn"] = String(warn);
  }
}

/** Which field the service's refusals are about. */
const ABOUT: Readonly<Record<string, About>> = { wrongPassword: "own", weakPassword: "next", samePassword: "next" };
const PERIOD_MS = 5000;
const SOON_MS = 300;
