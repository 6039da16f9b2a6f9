/**
 * Who can sign in. Enters: which roles have a password. Leaves: the wish to set, change or remove one, with the owner's present
 * password typed again. Never keeps a password: it is in a field, and the field is there while it is filled in.
 */
import type { PasswordRemoval } from "../generated/PasswordRemoval";
import type { PasswordRequest } from "../generated/PasswordRequest";
import type { PasswordState } from "../generated/PasswordState";
import type { Role } from "../generated/Role";
import { canBeShown, element } from "./elements";

/** A field of the form: the new password, or the owner's present one. */
export type About = "next" | "own";

export interface PasswordsEvents {
  /** Both give what is so then, and throw an Error with a sentence to show. */
  set(request: PasswordRequest): Promise<readonly PasswordState[]>;
  remove(request: PasswordRemoval): Promise<readonly PasswordState[]>;
  /** Which field such a refusal is about; null: none of them. */
  about(refused: unknown): About | null;
}

export class Passwords {
  readonly #list = element("passwords", HTMLUListElement);
  readonly #summary = element("passwords-summary", HTMLElement);
  readonly #note = element("passwords-note", HTMLElement);
  readonly #rows = new Map<Role, Row>();
  #states: readonly PasswordState[] = [];
  #form: Form | null = null;

  constructor(private readonly on: PasswordsEvents) {
    for (const role of ["owner", "talker", "viewer"] as const) {
      const row = new Row(role, (removes) => this.#ask(role, removes));
      this.#rows.set(role, row);
      this.#list.append(row.item);
    }
  }

  /** Rows and an open form stay the same elements, so that nothing typed is lost. */
  show(states: readonly PasswordState[]): void {
    this.#states = states;
    this.#summary.textContent = whoSignsIn(states);
    for (const state of states) this.#rows.get(state.role)?.show(state, this.#isSet("owner"));
  }

  #isSet(role: Role): boolean {
    return this.#states.some((state) => state.role === role && state.set);
  }

  #ask(role: Role, removes: boolean): void {
    const row = this.#rows.get(role);
    if (!row || this.#form?.isSending) return; // its answer shall be seen
    this.#leave();
    this.#note.textContent = "";
    const change = { role, removes, isSet: this.#isSet(role), asksOwn: this.#isSet("owner") };
    const form = new Form(change, () => this.#leave(row), async (next, own) => {
      try {
        const states = removes
          ? await this.on.remove({ role, ownerPassword: own })
          : await this.on.set({ role, password: next, ownerPassword: own });
        this.show(states);
        if (this.#form === form) this.#leave(row);
        this.#note.textContent = `The ${role}’s password is ${removes ? "removed" : change.isSet ? "changed" : "set"}.`;
      } catch (error) {
        form.refuse(this.on.about(error), error instanceof Error ? error.message : String(error));
      }
    });
    this.#form = form;
    row.item.append(form.form);
    form.begin();
  }

  /** @param row gets the focus if the form had it */
  #leave(row?: Row): void {
    const form = this.#form?.form;
    this.#form = null;
    if (!form) return;
    const focused = form.contains(document.activeElement);
    form.remove();
    if (focused) row?.focus();
  }
}

/** The roles that have a password, in the panel's line about them. */
export function whoSignsIn(states: readonly Pick<PasswordState, "role" | "set">[]): string {
  const roles = states.filter((state) => state.set).map((state) => state.role);
  return roles.length === 0 ? "none is set" : roles.join(", ");
}

interface Change {
  role: Role;
  removes: boolean;
  isSet: boolean;
  /** The owner has a password, and shows it again. */
  asksOwn: boolean;
}

/** What follows from it, for whoever is about to do it. */
export function consequence({ role, removes, isSet }: Omit<Change, "asksOwn">): string {
  if (role === "owner") {
    if (removes) return "Without it everybody on this computer is the owner.";
    return isSet ? "Your other browsers must sign in again; this one goes on." : "From then on everybody signs in, on this computer too.";
  }
  if (removes) return `Nobody can sign in as ${role} then, and whoever is signed in is put out.`;
  return isSet ? `Whoever is signed in as ${role} must sign in again.` : `Who knows it can sign in as ${role}.`;
}

class Row {
  readonly item = document.createElement("li");
  readonly #detail = document.createElement("small");
  readonly #set = button("Set", "quiet");
  readonly #remove = button("Remove", "quiet");

  constructor(private readonly role: Role, ask: (removes: boolean) => void) {
    const [words, name, acts] = [document.createElement("div"), document.createElement("strong"), document.createElement("span")];
    name.textContent = ROLES[role].name;
    words.append(name, this.#detail);
    acts.className = "acts";
    acts.append(this.#set, this.#remove);
    this.item.dataset["role"] = role;
    this.item.append(words, acts);
    this.#set.addEventListener("click", () => ask(false));
    this.#remove.addEventListener("click", () => ask(true));
    this.#remove.setAttribute("aria-label", `Remove the ${role}’s password`);
  }

  show({ set, removable }: PasswordState, hasOwner: boolean): void {
    const possible = this.role === "owner" || hasOwner;
    this.#detail.textContent = `${set ? "Password set" : possible ? "No password" : "Needs the owner’s first"} · ${ROLES[this.role].may}`;
    this.#set.textContent = set ? "Change" : "Set";
    this.#set.setAttribute("aria-label", `${set ? "Change" : "Set"} the ${this.role}’s password`);
    this.#set.disabled = !possible;
    this.#remove.hidden = !removable;
  }

  focus(): void {
    this.#set.focus();
  }
}

class Form {
  readonly form = document.createElement("form");
  readonly #next: HTMLInputElement | null;
  readonly #own: HTMLInputElement | null;
  readonly #error = document.createElement("p");
  readonly #act: HTMLButtonElement;
  readonly #cancel = button("Cancel", "link");

  /** @param send resolves when it was done or refused */
  constructor(private readonly change: Change, leave: () => void, private readonly send: (next: string, own: string | null) => Promise<void>) {
    const { role, removes, isSet, asksOwn } = change;
    const { form } = this;
    form.noValidate = true; // the browser's own word says only that something is missing
    this.#error.className = "error";
    this.#error.id = "passwords-error";
    this.#error.setAttribute("role", "alert");
    this.#act = button(removes ? "Remove" : isSet ? "Change" : "Set", removes ? "quiet grave" : "quiet");
    this.#act.type = "submit";
    this.#cancel.addEventListener("click", leave);
    const acts = document.createElement("p");
    acts.className = "acts";
    acts.append(this.#act, this.#cancel);
    form.append(account(role));
    this.#next = removes ? null : this.#field("passwords-next", `New password of the ${role}`, "new-password", "At least 10 characters.");
    this.#own = asksOwn ? this.#field("passwords-own", "The owner’s present password", "current-password") : null;
    const follows = document.createElement("small");
    follows.textContent = consequence(change);
    form.append(this.#error, follows, acts);
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // closes the form, not the panel
      if (!this.isSending) leave();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
  }

  /** Meanwhile it stays: nothing takes back what is sent, and a refusal is shown in it. */
  get isSending(): boolean {
    return this.#act.disabled;
  }

  begin(): void {
    (this.#next ?? this.#own ?? this.#act).focus();
    this.form.scrollIntoView({ block: "nearest" });
  }

  refuse(about: About | null, reason: string): void {
    this.#error.textContent = reason;
    this.#sending(false); // the button may be what gets the focus
    const field = about === "next" ? this.#next : about === "own" ? this.#own : null;
    field?.setAttribute("aria-invalid", "true");
    (field ?? this.#act).focus();
    field?.select();
  }

  async #submit(): Promise<void> {
    if (this.isSending) return;
    const [next, own] = [this.#next?.value ?? "", this.#own?.value ?? null];
    // By code points, as the service counts.
    if (this.#next && [...next].length < SHORTEST) return this.refuse("next", `The new password needs at least ${SHORTEST} characters.`);
    if (own === "") return this.refuse("own", `Type the owner’s present password as well, ${this.change.removes ? "to remove this one" : "to set this one"}.`);
    this.#sending(true);
    await this.send(next, own);
    this.#sending(false);
  }

  #sending(now: boolean): void {
    this.#act.disabled = this.#cancel.disabled = now;
  }

  #field(id: string, words: string, autocomplete: AutoFill, rule = ""): HTMLInputElement {
    const [field, label, secret, input] = [document.createElement("div"), document.createElement("label"), document.createElement("span"), document.createElement("input")];
    field.className = "field";
    label.textContent = words;
    label.htmlFor = input.id = id;
    input.type = "password";
    input.autocomplete = autocomplete;
    const described = [this.#error.id];
    secret.className = "secret";
    const show = button("Show", "link");
    show.setAttribute("aria-pressed", "false");
    show.setAttribute("aria-controls", id);
    show.setAttribute("aria-label", "Show the password");
    secret.append(input, show);
    field.append(label, secret);
    if (rule !== "") {
      const small = document.createElement("small");
      small.id = `${id}-rule`;
      small.textContent = rule;
      field.append(small);
      described.unshift(small.id);
    }
    input.setAttribute("aria-describedby", described.join(" "));
    input.addEventListener("input", () => {
      this.#error.textContent = "";
      input.removeAttribute("aria-invalid");
    });
    this.form.append(field);
    canBeShown(input, show);
    return input;
  }
}

/** By what a browser keeps the passwords of the roles apart; the sign-in asks for none, and means the owner's. */
function account(role: Role): HTMLInputElement {
  const input = document.createElement("input");
  input.className = "offscreen";
  input.type = "text";
  input.autocomplete = "username";
  input.readOnly = true;
  input.tabIndex = -1;
  input.value = role === "owner" ? "duplex" : role;
  input.setAttribute("aria-hidden", "true");
  input.setAttribute("aria-label", "Role");
  return input;
}

function button(text: string, classes: string): HTMLButtonElement {
  const one = document.createElement("button");
  one.type = "button";
  one.className = classes;
  one.textContent = text;
  return one;
}

const ROLES = {
  owner: { name: "Owner", may: "changes settings, too" },
  talker: { name: "Talker", may: "is also seen and heard" },
  viewer: { name: "Viewer", may: "sees and hears" },
} as const;
/** The service's rule. */
const SHORTEST = 10;
