/**
 * The two forms before a call: sign-in and first setup. Enters: which one to show, refusals. Leaves:
 * what was typed, once, at submit. Never keeps a password.
 */
import { canBeShown, element } from "./elements";

export interface SignInEvents {
  /** Both resolve when the door is open, and throw an Error with a sentence to show when it is not. */
  signIn(password: string): Promise<void>;
  setUp(code: string, password: string): Promise<void>;
  /** Seconds until such a refusal is over; null: it is no matter of time. */
  waitAfter(refused: unknown): number | null;
}

export class SignIn {
  readonly #door = element("door", HTMLElement);
  readonly #signInForm = element("sign-in-form", HTMLFormElement);
  readonly #setupForm = element("setup-form", HTMLFormElement);
  readonly #password = element("password", HTMLInputElement);
  readonly #code = element("setup-code", HTMLInputElement);
  readonly #newPassword = element("new-password", HTMLInputElement);

  constructor(on: SignInEvents) {
    const wait = (refused: unknown) => on.waitAfter(refused);
    submit(this.#signInForm, "sign-in", "sign-in-error", this.#password, () => on.signIn(this.#password.value), wait);
    submit(this.#setupForm, "set-up", "setup-error", this.#code, () => on.setUp(this.#code.value.trim(), this.#newPassword.value), wait);
    for (const button of this.#door.querySelectorAll<HTMLButtonElement>(".secret button")) {
      canBeShown(element(button.getAttribute("aria-controls") ?? "", HTMLInputElement), button);
    }
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

function submit(
  form: HTMLFormElement,
  buttonId: string,
  errorId: string,
  first: HTMLInputElement,
  send: () => Promise<void>,
  waitAfter: (refused: unknown) => number | null,
): void {
  const button = element(buttonId, HTMLButtonElement);
  const error = element(errorId, HTMLElement);
  let waits = false;
  form.addEventListener("input", () => {
    if (!waits) error.textContent = ""; // it was about what stood there before
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    error.textContent = "";
    send()
      .then(() => form.reset())
      .catch(async (refused: unknown) => {
        first.select();
        const seconds = waitAfter(refused);
        if (seconds === null) {
          error.textContent = refused instanceof Error ? refused.message : String(refused);
          return;
        }
        waits = true;
        await countDown(error, seconds);
        waits = false;
      })
      .finally(() => (button.disabled = false));
  });
}

/** Says how long to wait, second by second; a screen reader hears the beginning and the end. */
async function countDown(error: HTMLElement, seconds: number): Promise<void> {
  // By the clock: a page in the background has its timers held back.
  const end = performance.now() + seconds * 1000;
  for (let left = seconds; left > 0; left = Math.ceil((end - performance.now()) / 1000)) {
    error.textContent = `Too many attempts. Try again in ${left} ${left === 1 ? "second" : "seconds"}.`;
    await new Promise((done) => setTimeout(done, Math.max(0, end - (left - 1) * 1000 - performance.now())));
    error.setAttribute("aria-live", "off");
  }
  error.removeAttribute("aria-live");
  error.textContent = "You can try again now.";
}
