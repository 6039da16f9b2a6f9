/**
 * The two forms before a call: sign-in and first setup. Enters: which one to show, refusals. Leaves:
 * what was typed, once, at submit. Never keeps a password.
 */
import { element } from "./elements";

/** Each resolves when the door is open, and throws an Error with a sentence to show when it is not. */
export interface SignInEvents {
  signIn(password: string): Promise<void>;
  setUp(code: string, password: string): Promise<void>;
}

export class SignIn {
  readonly #door = element("door", HTMLElement);
  readonly #signInForm = element("sign-in-form", HTMLFormElement);
  readonly #setupForm = element("setup-form", HTMLFormElement);
  readonly #password = element("password", HTMLInputElement);
  readonly #code = element("setup-code", HTMLInputElement);
  readonly #newPassword = element("new-password", HTMLInputElement);

  constructor(on: SignInEvents) {
    submit(this.#signInForm, "sign-in", "sign-in-error", this.#password, () => on.signIn(this.#password.value));
    submit(this.#setupForm, "set-up", "setup-error", this.#code, () => on.setUp(this.#code.value.trim(), this.#newPassword.value));
  }

  /** @param reason why the person is here, if there is something to say about it */
  show(view: "call" | "sign-in" | "setup", reason: string | null): void {
    element("sign-in-error", HTMLElement).textContent = reason ?? "";
    element("setup-error", HTMLElement).textContent = "";
    this.#door.hidden = view === "call";
    this.#signInForm.hidden = view !== "sign-in";
    this.#setupForm.hidden = view !== "setup";
    if (view === "sign-in") this.#password.focus();
    if (view === "setup") this.#code.focus();
  }
}

function submit(form: HTMLFormElement, buttonId: string, errorId: string, first: HTMLInputElement, send: () => Promise<void>): void {
  const button = element(buttonId, HTMLButtonElement);
  const error = element(errorId, HTMLElement);
  form.addEventListener("input", () => (error.textContent = "")); // it was about what stood there before
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    error.textContent = "";
    send()
      .then(() => form.reset())
      .catch((refused: unknown) => {
        error.textContent = refused instanceof Error ? refused.message : String(refused);
        first.select();
      })
      .finally(() => (button.disabled = false));
  });
}
