// Reads a subscription of any client: what came, in order, and waiting for more of it.

/** Patience of one test. */
export const PATIENCE = { timeout: 20_000 };

/** A sink for results that can be waited for. */
export class Reading {
  results = [];
  ended = null;
  /** Sees each result as it comes. */
  seen = () => {};
  #wake = () => {};

  /** What clients call an observer or a sink. */
  get sink() {
    return {
      next: (result) => { this.seen(result); this.results.push(result); this.#wake(); },
      error: (error) => { this.ended = { error }; this.#wake(); },
      complete: () => { this.ended ??= {}; this.#wake(); },
    };
  }

  async until(done) {
    while (!done()) await new Promise((resolve) => { this.#wake = resolve; });
  }

  /** Waits for `count` results in all, and answers them. */
  async have(count) {
    await this.until(() => this.results.length >= count || this.ended?.error);
    if (this.ended?.error) throw this.ended.error;
    return this.results;
  }
}
