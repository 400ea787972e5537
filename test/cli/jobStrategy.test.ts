/**
 * ScaledJobs through KEDA's arithmetic, with the readings that `convert` and `check` demand for each strategy.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inProgressFor, jobsToCreate, strategyOf, type JobStrategy } from '../../src/cli/jobStrategy.ts';
import { decide } from '../../src/scalers/rabbitmq/decision.ts';

const STRATEGIES: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { strategy: 'accurate' },
  { strategy: 'eager' },
  { strategy: 'custom', customScalingQueueLengthDeduction: 0, customScalingRunningJobPercentage: '1.0' },
  { strategy: 'custom', customScalingQueueLengthDeduction: 0, customScalingRunningJobPercentage: '0' },
];
const MAX_REPLICAS = 10;

interface World {
  waiting: number;
  /** Each by one job. */
  held: number;
  running: number;
}

/** One poll; the jobs that it makes take a message each if there is one, and stay without one. */
function poll(strategy: JobStrategy, world: World, inProgress = inProgressFor(strategy)): void {
  if (inProgress === 'neither') throw new Error('no way of counting fits');
  const measures = { ready: world.waiting, unacknowledged: world.held, messages: world.waiting + world.held };
  const policy = { mode: 'QueueLength', target: 1, activation: 0, inProgress, oneConsumerPerShard: false } as const;
  const { value, active } = decide(policy, measures, 'queue orders');
  const { running } = world;
  const made = jobsToCreate(strategy, {
    value,
    active,
    target: 1,
    running,
    pending: 0,
    minReplicas: 0,
    maxReplicas: MAX_REPLICAS,
  });
  const taken = Math.min(made, world.waiting);
  world.running += made;
  world.waiting -= taken;
  world.held += taken;
}

describe.each(STRATEGIES.map((written) => [JSON.stringify(written), strategyOf(written)] as const))('%s', (_, strategy) => {
  test('makes no more jobs than there are messages while each holds one', () => {
    const world = { waiting: 3, held: 0, running: 0 };
    for (let polls = 0; polls < 20; polls++) poll(strategy, world);
    expect(world).toEqual({ waiting: 0, held: 3, running: 3 });
  });

  test('makes one for each message that waits, however many are held', () => {
    const step = fc.record({ arrive: fc.nat(4), finish: fc.nat(4) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const world = { waiting: 0, held: 0, running: 0 };
        for (const { arrive, finish } of steps) {
          const finished = Math.min(finish, world.held);
          world.held -= finished;
          world.running -= finished;
          world.waiting += arrive;
          poll(strategy, world);
          expect(world.running).toBe(world.held);
          expect(world.waiting === 0 || world.running >= MAX_REPLICAS).toBe(true);
        }
      }),
    );
  });

  test('goes wrong with the other way of counting', () => {
    const other = inProgressFor(strategy) === 'count' ? 'active' : 'count';
    const world = { waiting: 3, held: 0, running: 0 };
    poll(strategy, world, other);
    world.waiting = 1;
    poll(strategy, world, other);
    expect(world.running).not.toBe(4);
  });
});

test('KEDA takes the default strategy for what it does not know', () => {
  for (const written of [{ strategy: 'acurate' }, { strategy: 'custom', customScalingRunningJobPercentage: 'half' }])
    expect(strategyOf(written)).toEqual({ name: 'default' });
  expect(inProgressFor({ name: 'custom', deduction: 0, runningShare: 0.5 })).toBe('neither');
});

test.each([
  // [strategy, value, running, pending, jobs]: KEDA's documentation of the strategies, maxReplicaCount 10.
  ['default', 3, 0, 0, 3],
  ['default', 3, 3, 3, 0],
  ['accurate', 6, 3, 0, 6],
  ['accurate', 3, 3, 3, 0],
  ['accurate', 9, 3, 0, 7],
  ['eager', 6, 3, 0, 6],
  ['eager', 9, 3, 0, 7],
] as const)('%s with %i messages, %i jobs running and %i of them pending makes %i', (name, value, running, pending, jobs) => {
  const state = { value, running, pending, target: 1, active: true, minReplicas: 0, maxReplicas: MAX_REPLICAS };
  expect(jobsToCreate({ name }, state)).toBe(jobs);
});
