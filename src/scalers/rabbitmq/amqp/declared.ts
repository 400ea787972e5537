/**
 * What a passive declare answers.
 */
export interface Declared {
  readonly ready: number;
  readonly consumers: number;
  /** Time from the question's being sent until its answer, in ms. */
  readonly serviceMs: number;
  /** When the answer came, in ms of `performance.now()`. */
  readonly at: number;
}
