/** Enters: an id of index.html. Leaves: that element with its type. Throws when page and script disagree. */
export function element<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} with the id ${id}`);
  return found;
}

/** True where a letter belongs to the field the person types in or chooses with: not on a slider, nor on a box to tick. */
export function takesLetters(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("input:not([type='range'], [type='checkbox']), select, textarea, [contenteditable]") !== null;
}

/** True where Space does something of its own: presses a control, types, plays, or scrolls a list that has the focus. */
export function ownsSpace(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("input, select, textarea, a, [contenteditable], button, summary, dialog, [tabindex]") !== null;
}

/** A toggle's state for the eye and for a screen reader alike. */
export function setPressed(button: HTMLElement, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}

/** The password in letters for as long as its person wants to see it; sent or saved it is a password again. */
export function canBeShown(input: HTMLInputElement, button: HTMLButtonElement): void {
  const show = (shown: boolean) => {
    input.type = shown ? "text" : "password";
    setPressed(button, shown);
    button.textContent = shown ? "Hide" : "Show";
  };
  button.addEventListener("click", () => show(input.type === "password"));
  input.form?.addEventListener("submit", () => show(false), { capture: true });
}

/** One line of a list of facts; `share` is drawn as a bar, 0 to 1. */
export interface Fact {
  name: string;
  text: string;
  title?: string;
  share?: number | null;
  warn?: boolean;
  /** A fingerprint: its pairs stay whole at the end of a line. */
  code?: boolean;
  /** There is nothing to tell. */
  absent?: boolean;
}

/** Fills a `<dl>`; what has not changed is left alone, so that a selection in it stays. */
export function facts(list: HTMLDListElement, rows: readonly Fact[]): void {
  while (list.childElementCount > rows.length) list.lastElementChild?.remove();
  rows.forEach((fact, at) => {
    const row = list.children[at] ?? list.appendChild(document.createElement("div"));
    const key = JSON.stringify(fact);
    if (row.getAttribute("data-key") === key) return;
    row.setAttribute("data-key", key);
    const [name, value] = [document.createElement("dt"), document.createElement("dd")];
    name.textContent = fact.name;
    if (fact.title) value.title = fact.title;
    if (fact.code) {
      value.className = "code";
      value.append(...fact.text.split(/(?<=:)/).map((pair) => Object.assign(document.createElement("span"), { textContent: pair })));
    } else value.textContent = fact.text;
    row.toggleAttribute("data-absent", fact.absent ?? false);
    row.toggleAttribute("data-warn", fact.warn ?? false);
    row.replaceChildren(name, value);
    if (fact.share !== undefined && fact.share !== null) {
      const bar = document.createElement("meter");
      bar.value = fact.share;
      bar.setAttribute("aria-label", `${fact.name} in use`);
      value.append(bar);
    }
  });
}
