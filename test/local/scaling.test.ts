import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fallbackValue, type FallbackBehavior } from '../../src/local/keda/fallback.ts';
import { scalingAction, type Activity, type ScalingBounds, type ScalingState } from '../../src/local/keda/scaling.ts';

const BOUNDS: ScalingBounds = { minReplicas: 0, cooldownMs: 300_000, initialCooldownMs: 0 };
const NOW = 1_000_000;
const LONG_AGO: ScalingState = { createdAt: 0, lastActiveAt: NOW - 300_000 };
const JUST_NOW: ScalingState = { createdAt: 0, lastActiveAt: NOW - 1 };

const ACTIVE: Activity = { active: true, failing: false };
const PARTLY: Activity = { active: true, failing: true };
const INACTIVE: Activity = { active: false, failing: false };
const FAILING: Activity = { active: false, failing: true };

describe('what KEDA does after a poll', () => {
  // activity, bounds, state, replicas → new replicas (undefined: left alone)
  test.each<[string, Activity, Partial<ScalingBounds>, ScalingState, number, number | undefined]>([
    ['active at zero starts one', ACTIVE, {}, LONG_AGO, 0, 1],
    ['active at zero starts minReplicaCount at once', ACTIVE, { minReplicas: 3 }, LONG_AGO, 0, 3],
    ['active above zero leaves the count to the HPA', ACTIVE, {}, LONG_AGO, 1, undefined],
    ['active below minReplicaCount leaves the count to the HPA', ACTIVE, { minReplicas: 3 }, LONG_AGO, 1, undefined],
    ['active at the idle count starts minReplicaCount', ACTIVE, { minReplicas: 3, idleReplicas: 0 }, LONG_AGO, 0, 3],
    [
      'active between idle and minReplicaCount starts minReplicaCount',
      ACTIVE,
      { minReplicas: 3, idleReplicas: 1 },
      LONG_AGO,
      1,
      3,
    ],
    ['active with some triggers failing still starts from zero', PARTLY, {}, LONG_AGO, 0, 1],
    ['inactive after the cooldown goes to zero', INACTIVE, {}, LONG_AGO, 7, 0],
    ['inactive within the cooldown waits', INACTIVE, {}, JUST_NOW, 7, undefined],
    ['inactive at zero stays', INACTIVE, {}, LONG_AGO, 0, undefined],
    ['inactive with a minimum leaves scaling down to the HPA', INACTIVE, { minReplicas: 2 }, LONG_AGO, 7, undefined],
    ['inactive below the minimum goes up to it', INACTIVE, { minReplicas: 2 }, LONG_AGO, 1, 2],
    ['inactive goes to the idle count after the cooldown', INACTIVE, { minReplicas: 2, idleReplicas: 0 }, LONG_AGO, 7, 0],
    ['inactive at the idle count stays below the minimum', INACTIVE, { minReplicas: 2, idleReplicas: 0 }, LONG_AGO, 0, undefined],
    ['never active goes to zero at once', INACTIVE, {}, { createdAt: NOW }, 7, 0],
    [
      'never active waits for the initial cooldown',
      INACTIVE,
      { initialCooldownMs: 1000 },
      { createdAt: NOW - 999 },
      7,
      undefined,
    ],
    [
      'never active goes to zero after the initial cooldown',
      INACTIVE,
      { initialCooldownMs: 1000 },
      { createdAt: NOW - 1000 },
      7,
      0,
    ],
    ['failing scales nothing', FAILING, {}, LONG_AGO, 7, undefined],
    ['failing at zero scales nothing', FAILING, {}, LONG_AGO, 0, undefined],
    ['failing with a fallback waits for it', FAILING, { fallbackReplicas: 4 }, LONG_AGO, 7, undefined],
    ['failing with a fallback to zero replicas goes to zero', FAILING, { fallbackReplicas: 0 }, LONG_AGO, 7, 0],
  ])('%s', (_, activity, bounds, state, replicas, expected) => {
    expect(scalingAction({ ...BOUNDS, ...bounds }, state, activity, replicas, NOW).replicas).toBe(expected);
  });

  test('activity renews the cooldown, unless some triggers fail', () => {
    expect(scalingAction(BOUNDS, LONG_AGO, ACTIVE, 3, NOW).state.lastActiveAt).toBe(NOW);
    expect(scalingAction(BOUNDS, LONG_AGO, ACTIVE, 0, NOW).state.lastActiveAt).toBe(NOW);
    expect(scalingAction(BOUNDS, LONG_AGO, PARTLY, 3, NOW).state).toEqual(LONG_AGO);
    expect(scalingAction(BOUNDS, LONG_AGO, INACTIVE, 3, NOW).state).toEqual(LONG_AGO);
  });

  test('whatever comes, replicas go to zero only when nothing is active and the cooldown is over', () => {
    const bounds = fc.record({
      minReplicas: fc.nat(3),
      cooldownMs: fc.nat(1000),
      initialCooldownMs: fc.nat(1000),
    });
    fc.assert(
      fc.property(
        bounds,
        fc.boolean(),
        fc.boolean(),
        fc.nat(10),
        fc.nat(2000),
        fc.nat(2000),
        (rest, active, failing, replicas, at, now) => {
          const state = { createdAt: 0, lastActiveAt: at };
          const action = scalingAction(rest, state, { active, failing }, replicas, at + now);
          if (action.replicas !== 0) return;
          expect(active || failing).toBe(false);
          expect(rest.minReplicas).toBe(0);
          expect(now).toBeGreaterThanOrEqual(rest.cooldownMs);
        },
      ),
    );
  });
});

describe('the fallback', () => {
  const counts = { wanted: 5, ready: 2 };
  const average = { targetType: 'AverageValue', target: 20 } as const;
  const fallback = (behavior: FallbackBehavior, replicas = 3) => ({ failureThreshold: 2, replicas, behavior });

  test('begins with the first failure above the threshold', () => {
    expect(fallbackValue(fallback('static'), 2, average, counts)).toBeUndefined();
    expect(fallbackValue(fallback('static'), 3, average, counts)).toBe(60);
    expect(fallbackValue(undefined, 99, average, counts)).toBeUndefined();
  });

  test.each<[FallbackBehavior, number, number]>([
    ['static', 3, 3],
    ['currentReplicas', 3, 5],
    ['currentReplicasIfHigher', 3, 5],
    ['currentReplicasIfHigher', 8, 8],
    ['currentReplicasIfLower', 3, 3],
    ['currentReplicasIfLower', 8, 5],
  ])('%s with %s of its own makes the HPA keep %s of 5', (behavior, own, expected) => {
    expect(fallbackValue(fallback(behavior, own), 3, average, counts)).toBe(expected * 20);
  });

  test('of a metric for all replicas is divided by the ready ones, and there must be some', () => {
    const value = { targetType: 'Value', target: 20 } as const;
    expect(fallbackValue(fallback('static'), 3, value, counts)).toBe(30);
    expect(fallbackValue(fallback('static'), 3, value, { wanted: 5, ready: 0 })).toBeUndefined();
  });
});
