/**
 * What a command reads from and writes to, so that tests can stand in for the terminal.
 */
import type { Readable, Writable } from 'node:stream';

export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Whether the output is a terminal that shows colours. */
  readonly colour: boolean;
}

export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process;
  return { stdin, stdout, stderr, colour: stdout.isTTY && (env['NO_COLOR'] ?? '') === '' };
}
