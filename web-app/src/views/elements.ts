/** Enters: an id of index.html. Leaves: that element with its type. Throws when page and script disagree. */
export function element<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} with the id ${id}`);
  return found;
}

/** True where a key press belongs to the field the person types in or chooses with. */
export function isField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("input, select, textarea, a, [contenteditable]") !== null;
}

/** A toggle's state for the eye and for a screen reader alike. */
export function setPressed(button: HTMLElement, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}
