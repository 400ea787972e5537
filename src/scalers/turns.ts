/**
 * Spreads work that becomes due all at once, such as what a thousand questions make of one list, over turns of the event loop, so that
 * calls are answered in between.
 */

/** Resolves when the caller may go on: `perTurn` do so in each turn of the event loop, in the order in which they came. */
export function createTurns(perTurn: number): () => Promise<void> {
  const waiting: (() => void)[] = [];
  let taken = 0;
  let scheduled = false;

  function nextTurn(): void {
    scheduled = false;
    const turn = waiting.splice(0, perTurn);
    taken = turn.length;
    if (taken > 0) schedule();
    for (const goOn of turn) goOn();
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(nextTurn);
  }

  return () => {
    schedule();
    if (taken < perTurn) {
      taken++;
      return Promise.resolve();
    }
    return new Promise((goOn) => {
      waiting.push(goOn);
    });
  };
}
