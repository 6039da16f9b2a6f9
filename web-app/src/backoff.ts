/**
 * Enters: how often something failed. Leaves: how long to wait, in milliseconds, before the next try.
 * Never sets a timer and never reads a clock; chance comes in as an argument.
 */
export class Backoff {
  #failures = 0;

  /**
   * @param first wait after the first failure, milliseconds
   * @param most upper bound of every wait, milliseconds
   */
  constructor(
    private readonly first: number,
    private readonly most: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** How often it failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** The next wait: doubles with each failure, between `first` and `most`. */
  next(): number {
    const full = Math.min(this.most, this.first * 2 ** this.#failures);
    this.#failures += 1;
    // Up to a fifth less, so that the viewers of a restarted device do not come back in one moment.
    return Math.max(this.first, full * (1 - 0.2 * this.random()));
  }

  /** To be called when it worked. */
  reset(): void {
    this.#failures = 0;
  }
}
