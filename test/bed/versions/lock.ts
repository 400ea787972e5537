/** A lock between processes that the kernel lets go of when its holder ends, however it ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Waits until nobody else holds the lock of that file; resolves to what lets go of it. */
export async function lock(file: string): Promise<() => Promise<void>> {
  // It holds the lock as long as its input is open, which is as long as this process lives.
  const holder = spawn('flock', [file, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(holder, 'exit');
  const held = await Promise.race([once(holder.stdout, 'data').then(() => true), ended.then(() => false)]);
  if (!held) throw new Error(`no lock on ${file}`);
  return async () => {
    holder.stdin.end();
    await ended;
  };
}
