import { describe, expect, it } from 'vitest';
import { NODE_CHANGE_MS } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import type { ZeroStreak } from '../../../src/scalers/rabbitmq/read/queueMemory.ts';
import { confirmZero, type ReaderKind } from '../../../src/scalers/rabbitmq/read/zero.ts';

const CONFIRM_MS = 11_000;

interface Said {
  readonly type: string | undefined;
  readonly available: number;
  readonly kinds: ReadonlySet<ReaderKind>;
  readonly unheld?: boolean;
  readonly calm?: boolean;
}

function evidence(type: string | undefined, available: number, ...kinds: ReaderKind[]): Said {
  return { type, available, kinds: new Set(kinds) };
}

/** Reads one queue, and remembers its streak as the reader of a question does. */
function create() {
  const clock = { now: 100_000 };
  let streak: ZeroStreak | undefined;
  let changedAt = -Infinity;
  return {
    clock,
    zeros: {
      nodeEvent: () => (changedAt = clock.now),
      resetZero: () => (streak = undefined),
    },
    zero: (said: Said, confirmMs = CONFIRM_MS): boolean => {
      const recentNodeChange = clock.now - changedAt < NODE_CHANGE_MS;
      const { unheld = false, calm = false } = said;
      const seen = { ...said, unheld, calm: calm && !recentNodeChange, recentNodeChange, askedAt: clock.now, at: clock.now };
      const found = confirmZero(streak, seen, confirmMs);
      streak = found.streak;
      return found.verdict.confirmed;
    },
  };
}

it('takes a classic queue’s zero from its own process at once, even while nodes come and go', () => {
  const { zero, zeros } = create();
  zeros.nodeEvent();
  expect(zero(evidence('classic', 2, 'totals'))).toBe(true);
});

it.each(['statistics', 'prometheus'] as const)(
  'takes no zero of a classic queue from %s alone: it may be from before a publish',
  (kind) => {
    const { zero } = create();
    expect(zero(evidence('classic', 2, kind))).toBe(false);
    expect(zero(evidence('classic', 2, kind, 'declare'))).toBe(true);
  },
);

it.each([
  ['quorum', 2, ['totals', 'declare']],
  ['stream', 2, ['statistics', 'declare']],
  [undefined, 1, ['declare']],
] as const)('lets the zero of a %s queue hold before it counts', (type, available, kinds) => {
  const { zero, clock } = create();
  const some = evidence(type, available, ...kinds);
  expect(zero(some)).toBe(false);
  clock.now += 5_000;
  expect(zero(some)).toBe(false);
  clock.now += 5_900;
  expect(zero(some)).toBe(false);
  clock.now += 200;
  expect(zero(some)).toBe(true);
  expect(zero(some)).toBe(true);
});

it('wants several answers, not two that lie far apart', () => {
  const { zero, clock } = create();
  const some = evidence('quorum', 2, 'totals', 'declare');
  expect(zero(some)).toBe(false);
  clock.now += 60_000;
  expect(zero(some)).toBe(false);
  clock.now += 1_000;
  expect(zero(some)).toBe(true);
});

it('begins anew when anything else was read, or nothing for long', () => {
  const { zero, zeros, clock } = create();
  const some = evidence('quorum', 2, 'totals', 'declare');
  for (let look = 0; look < 5; look++, clock.now += 5_000) zero(some);
  expect(zero(some)).toBe(true);
  zeros.resetZero();
  expect(zero(some)).toBe(false);
  for (let look = 0; look < 5; look++, clock.now += 5_000) zero(some);
  expect(zero(some)).toBe(true);
  clock.now += 300_000;
  expect(zero(some)).toBe(false);
});

it('takes one kind of reader for no confirmation where there are two', () => {
  const { zero, clock } = create();
  for (let look = 0; look < 20; look++, clock.now += 5_000) expect(zero(evidence('quorum', 2, 'totals'))).toBe(false);
});

it('takes no zero of a replicated queue for a while after a node came or went, however long it was zero before', () => {
  const { zero, zeros, clock } = create();
  const some = evidence('quorum', 2, 'totals', 'declare');
  for (let look = 0; look < 5; look++, clock.now += 5_000) zero(some);
  expect(zero(some)).toBe(true);
  zeros.nodeEvent();
  expect(zero(some)).toBe(false);
  clock.now += NODE_CHANGE_MS - 1;
  expect(zero(some)).toBe(false);
  clock.now += 2;
  expect(zero(some)).toBe(true);
});

it('takes any zero with confirmZero 0, which confirms it for no other trigger', () => {
  const { zero } = create();
  expect(zero(evidence('quorum', 2, 'totals'), 0)).toBe(true);
  expect(zero(evidence('quorum', 2, 'totals', 'declare'))).toBe(false);
});

it('gives a zero the time that each trigger wants for it', () => {
  const { zero, clock } = create();
  const some = evidence('quorum', 2, 'totals', 'declare');
  for (let look = 0; look < 3; look++, clock.now += 6_000) zero(some);
  expect(zero(some)).toBe(true);
  expect(zero(some, 30_000)).toBe(false);
});

describe('the zero of a quorum queue that its leader and another reader tell', () => {
  const told = { ...evidence('quorum', 2, 'totals', 'declare'), unheld: true, calm: true };

  it('counts at once where all nodes are well and nobody can hold a message', () => {
    expect(create().zero(told)).toBe(true);
  });

  it.each([
    ['a node has changed', { calm: false }],
    ['a consumer may hold a message', { unheld: false }],
    ['only the leader tells it', { kinds: new Set(['declare'] as const) }],
    ['its leader does not tell it', { kinds: new Set(['totals', 'statistics'] as const) }],
    ['it is a stream', { type: 'stream' }],
  ])('does not where %s', (_, less) => {
    expect(create().zero({ ...told, ...less })).toBe(false);
  });

  it('goes on to count while it lasts, though somebody consumes now, until a node changes', () => {
    const { zero, zeros, clock } = create();
    zero(told);
    clock.now += 1_000;
    expect(zero({ ...told, unheld: false, calm: false })).toBe(true);
    zeros.nodeEvent();
    expect(zero(told)).toBe(false);
  });
});
