/**
 * Who is connected. Enters: the sessions. Leaves: the wish to end one, after a second press. Never ends this page's own.
 */
import type { SessionInfo } from "../generated/SessionInfo";
import { shortName } from "../names";
import { since } from "../time";
import { element } from "./elements";

export interface PeopleEvents {
  /** Throws an Error with a sentence to show. */
  end(id: string): Promise<void>;
}

export class People {
  readonly #list = element("people", HTMLUListElement);
  readonly #count = element("people-count", HTMLElement);
  readonly #error = element("people-error", HTMLElement);
  readonly #rows = new Map<string, Row>();

  constructor(private readonly on: PeopleEvents) {}

  /**
   * Rows stay the same elements, so that a press on one of them is not lost.
   * @param open nobody signs in on this device: everybody has the same rights, and no role tells them apart
   */
  show(sessions: readonly SessionInfo[], ownPeer: string | null, open: boolean): void {
    this.#count.textContent = String(sessions.length);
    for (const id of [...this.#rows.keys()].filter((known) => !sessions.some((session) => session.id === known))) {
      this.#rows.get(id)?.item.remove();
      this.#rows.delete(id);
    }
    for (const session of sessions) {
      const row = this.#rows.get(session.id) ?? this.#add(session.id);
      row.show(session, session.id === ownPeer, open);
    }
  }

  #add(id: string): Row {
    const row = new Row(async () => {
      this.#error.textContent = "";
      try {
        await this.on.end(id);
      } catch (error) {
        this.#error.textContent = error instanceof Error ? error.message : String(error);
      }
    });
    this.#rows.set(id, row);
    this.#list.append(row.item);
    return row;
  }
}

class Row {
  readonly item = document.createElement("li");
  readonly #who = document.createElement("strong");
  readonly #what = document.createElement("span");
  readonly #detail = document.createElement("small");
  readonly #link = document.createElement("small");
  readonly #end = document.createElement("button");
  #armed: ReturnType<typeof setTimeout> | undefined;

  constructor(end: () => Promise<void>) {
    const words = document.createElement("div");
    words.append(this.#who, " ", this.#what, this.#detail);
    this.#end.type = "button";
    this.#end.className = "quiet";
    this.#end.textContent = "End";
    this.#end.addEventListener("click", () => {
      if (this.#armed === undefined) return this.#arm();
      this.#disarm();
      this.#end.disabled = true;
      void end().finally(() => (this.#end.disabled = false));
    });
    this.#end.addEventListener("blur", () => this.#disarm());
    this.item.append(words, this.#end, this.#link);
  }

  show(session: SessionInfo, here: boolean, open: boolean): void {
    const name = called(session, here, open);
    this.#who.textContent = name;
    this.#what.textContent = here ? "this page" : "";
    this.#what.className = here ? "chip" : "";
    const does = doing(session);
    this.item.dataset["does"] = does;
    const began = since(session.since * 1000, Date.now()).replaceAll(" ", "\u00a0");
    const parts = [open ? "" : ROLES[session.role ?? "none"], does, session.address ?? "", `since\u00a0${began}`, session.sentBytes > 0 ? megabytes(session.sentBytes) : ""];
    this.#detail.textContent = parts.filter((part) => part !== "").join(" · ");
    this.#link.textContent = link(session).join(" · ");
    this.#end.hidden = here;
    this.#end.setAttribute("aria-label", `End the session of ${name}${session.address === null ? "" : ` from ${session.address}`}`);
  }

  #arm(): void {
    this.#end.textContent = "Really end?";
    this.#end.classList.add("grave");
    this.#armed = setTimeout(() => this.#disarm(), ARMED_MS);
  }

  #disarm(): void {
    clearTimeout(this.#armed);
    this.#armed = undefined;
    this.#end.textContent = "End";
    this.#end.classList.remove("grave");
  }
}

/** What somebody does, the rarest first. */
export function doing({ talking, waiting, watching }: Pick<SessionInfo, "talking" | "waiting" | "watching">): string {
  if (talking) return "talking";
  if (waiting) return "waiting to talk";
  return watching ? "watching" : "connected";
}

/** Where nobody signs in, the same sign-in is no sign of the same person. */
export function called(session: Pick<SessionInfo, "id" | "token" | "own">, here: boolean, open: boolean): string {
  if (here) return "You";
  if (session.token !== null) return `Program “${session.token}”`;
  return session.own && !open ? "You, in another window" : shortName(session.id);
}

/** How the way to a viewer does, the delay being that from capture to its screen; empty while nothing is reported. */
export function link(session: Link): string[] {
  const parts: string[] = [];
  if (session.width !== null && session.height !== null) parts.push(`${session.width}\u00a0×\u00a0${session.height}`);
  if (session.deliveredKbits !== null) parts.push(`${(session.deliveredKbits / 1000).toFixed(1)}\u00a0Mbit/s`);
  if (session.lostPercent !== null && session.lostPercent >= 0.1) parts.push(`${session.lostPercent.toFixed(1)}\u00a0%\u00a0lost`);
  if (session.roundTripMs !== null) parts.push(`round\u00a0trip\u00a0${milliseconds(session.roundTripMs)}`);
  if (session.captureToScreenMs !== null) parts.push(`delay\u00a0${milliseconds(session.captureToScreenMs)}`);
  return parts;
}

type Link = Pick<SessionInfo, "width" | "height" | "deliveredKbits" | "lostPercent" | "roundTripMs" | "captureToScreenMs">;

function milliseconds(value: number): string {
  return value < 1 ? "under\u00a01\u00a0ms" : `${value.toFixed(0)}\u00a0ms`;
}

function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)}\u00a0GB` : `${(bytes / 1e6).toFixed(1)}\u00a0MB`;
}

const ROLES = { owner: "Owner", talker: "Talker", viewer: "Viewer", none: "Guest" } as const;
const ARMED_MS = 5000;
