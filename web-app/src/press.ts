/**
 * Tap to talk, hold to talk. Enters: the Talk control going down and up, with the time in milliseconds.
 * Leaves: what that means, `start`, `stop` or nothing. Never touches the DOM, a timer or the clock.
 */

/** A press longer than this many milliseconds is a hold: letting go ends the talk. */
export const HOLD_MS = 350;

export type PressEffect = "start" | "stop" | null;

export class Press {
  #downAt: number | null = null;
  #startedByThisPress = false;

  /** True from going down to coming up. */
  get down(): boolean {
    return this.#downAt !== null;
  }

  /** True while letting go would end the talk. */
  holding(now: number): boolean {
    return this.#downAt !== null && this.#startedByThisPress && now - this.#downAt > HOLD_MS;
  }

  /** @param wanted whether the person already talks or waits for a turn */
  press(now: number, wanted: boolean): PressEffect {
    if (this.#downAt !== null) return null; // a key that repeats
    this.#downAt = now;
    this.#startedByThisPress = !wanted;
    return wanted ? null : "start";
  }

  /** The control came up, or the browser took the pointer away. */
  lift(now: number): PressEffect {
    if (this.#downAt === null) return null;
    const hold = this.holding(now);
    const tapWhileTalking = !this.#startedByThisPress;
    this.#downAt = null;
    return hold || tapWhileTalking ? "stop" : null;
  }
}
