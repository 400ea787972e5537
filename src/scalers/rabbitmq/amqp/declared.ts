/**
 * What a passive declare answers.
 */
export interface Declared {
  readonly ready: number;
  readonly consumers: number;
  /** Time from the broker being free to answer until its answer, in ms. */
  readonly serviceMs: number;
  /** When the answer came, in ms of `performance.now()`. */
  readonly at: number;
}
