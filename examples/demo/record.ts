/** What the workers wrote down about messages, and what it means for the question whether any was lost. */
import { readFileSync } from 'node:fs';

export interface Account {
  /** Different messages that were done. */
  readonly processed: number;
  /** Published and never done. */
  readonly lost: number;
  /** Takings of a message beyond its first. */
  readonly redelivered: number;
}

/** `record` holds a line `taken ID` for each message that a worker was given and `done ID` for each that it finished. */
export function account(published: readonly string[], record: string): Account {
  const taken: string[] = [];
  const done = new Set<string>();
  for (const line of record.split('\n')) {
    const [what, id] = line.split(' ');
    if (id === undefined) continue;
    if (what === 'taken') taken.push(id);
    else done.add(id);
  }
  return {
    processed: done.size,
    lost: published.filter((id) => !done.has(id)).length,
    redelivered: taken.length - new Set(taken).size,
  };
}

export function readRecord(file: string): string {
  return readFileSync(file, 'utf8');
}
