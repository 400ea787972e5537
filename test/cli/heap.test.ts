import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const HEAP = pathToFileURL(join(import.meta.dirname, '../../src/cli/heap.ts')).href;

/** Makes objects that outlive several collections, as opening ten thousand streams does, and tells how large their space has grown. */
const script = (before: string): string => `
  import { getHeapSpaceStatistics } from 'node:v8';
  import { setImmediate as turn } from 'node:timers/promises';
  ${before}
  let kept = [];
  for (let round = 0; round < 400; round++) {
    for (let made = 0; made < 5_000; made++) kept.push({ made, holds: [made] });
    if (kept.length > 200_000) kept = [];
    await turn();
  }
  const { space_size } = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
  process.stdout.write(String(space_size / 1024 / 1024));
`;

async function youngMb(before: string): Promise<number> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '--eval', script(before)],
    { timeout: 30_000 },
  );
  return Number(stdout);
}

it('bounds the space of new objects, which V8 would let grow further', async () => {
  const bounded = await youngMb(`import { tuneHeap } from '${HEAP}'; tuneHeap();`);
  expect(bounded).toBeGreaterThanOrEqual(8);
  // It may grow once more before that is heard of.
  expect(bounded).toBeLessThanOrEqual(16);
  expect(await youngMb('')).toBeGreaterThan(16);
});
