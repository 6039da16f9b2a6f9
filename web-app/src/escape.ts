/**
 * Escape closes what was opened last. Enters: what opens, with the way to close it; what was closed by other means. Leaves: the
 * call to close one thing for each press. Never closes a dialog: the browser does that by itself.
 */
const opened: (() => void)[] = [];

/** @param close called by Escape, unless something opened later is still open */
export function closesByEscape(close: () => void, open: boolean): void {
  const at = opened.indexOf(close);
  if (at >= 0) opened.splice(at, 1);
  if (open) opened.push(close);
}

/** To be called once. */
export function followEscape(): void {
  document.addEventListener("keydown", (event) => {
    // The dialog is still open while its own Escape is told.
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    opened.at(-1)?.();
  });
}
