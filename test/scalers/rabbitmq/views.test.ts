import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Rows } from '../../../src/scalers/rabbitmq/management.ts';
import type { Members } from '../../../src/scalers/rabbitmq/members.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import type { VhostSources } from '../../../src/scalers/rabbitmq/sources.ts';
import { createViewer, type View, type Viewer } from '../../../src/scalers/rabbitmq/views.ts';
import { ask } from './asked.ts';

/** How the management API answers; the passive declare always tells of 4 ready messages. */
let list: () => Promise<Rows>;
let viewer: Viewer;

beforeEach(() => {
  vi.useFakeTimers();
  const sources: Partial<VhostSources> = {
    declare: () => Promise.resolve({ ready: 4, consumers: 1, serviceMs: 1, at: performance.now() }),
    prepare: () => Promise.resolve({ queues: 10, prometheus: false }),
    managementIsAbsent: () => false,
    isCalm: () => true,
    lists: {
      get: () => list(),
      learnType: () => Promise.resolve(),
      typeOf: () => undefined,
      size: 10,
    },
  };
  viewer = createViewer(sources as VhostSources, {} as Members);
});
afterEach(() => {
  vi.useRealTimers();
});

function question(name: string): RabbitQuestion {
  return ask({ kind: 'queue', name });
}

function rows(names: readonly string[]): Rows {
  const row = { type: 'classic', ready: 4, unacknowledged: 2, messages: 6, consumers: 1, counters: undefined, error: undefined };
  return { kind: 'totals', at: performance.now(), rows: new Map(names.map((name) => [name, { name, ...row }])) };
}

/** What is said of a queue, and after how long, in ms. */
async function timed(name: string): Promise<{ readonly view: View | undefined; readonly ms: number }> {
  const startedAt = performance.now();
  let ms = NaN;
  const viewing = viewer.view(question(name), 1).then((views) => {
    ms = performance.now() - startedAt;
    return views[0];
  });
  await vi.advanceTimersByTimeAsync(5_000);
  return { view: await viewing, ms };
}

it('a management API that does not answer holds up what a declare can tell for a second once, and then hardly', async () => {
  list = () => new Promise(() => undefined);
  const first = await timed('a');
  expect(first.view).toMatchObject({ listed: { code: 'BROKER_TIMEOUT' }, live: { ready: 4 } });
  expect(first.ms).toBeLessThanOrEqual(1_000);
  const second = await timed('b');
  expect(second.view).toMatchObject({ listed: { code: 'BROKER_TIMEOUT' }, live: { ready: 4 } });
  expect(second.ms).toBeLessThanOrEqual(100);
});

it('an answer that is late is waited for again once it has come', async () => {
  const late: ((rows: Rows) => void)[] = [];
  list = () => new Promise((resolve) => late.push(resolve));
  await timed('a');
  for (const answer of late.splice(0)) answer(rows(['a', 'b']));
  await vi.advanceTimersByTimeAsync(0);
  list = () =>
    new Promise((resolve) =>
      setTimeout(() => {
        resolve(rows(['a', 'b']));
      }, 500),
    );
  const { view, ms } = await timed('b');
  expect(view).toMatchObject({ listed: { row: { messages: 6 } } });
  expect(ms).toBeGreaterThanOrEqual(500);
});
