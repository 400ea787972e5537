import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  completeRules,
  DEFAULT_SCALE_DOWN,
  DEFAULT_SCALE_UP,
  type ScalingPolicy,
  type ScalingRules,
} from '../../src/local/hpa/behavior.ts';
import { INITIAL_HPA_STATE, syncHpa, type HpaDecision, type HpaSpec, type HpaState } from '../../src/local/hpa/hpa.ts';
import { proposeReplicas, type ExternalMetric, type MetricTargetType } from '../../src/local/hpa/hpaMetrics.ts';

const TOLERANCE = { up: 0.1, down: 0.1 };

function metric(
  value: number | string,
  target: number,
  targetType: MetricTargetType = 'AverageValue',
  name = 's0-queue',
): ExternalMetric {
  return { name, target, targetType, result: typeof value === 'number' ? { value } : { error: value } };
}

function counts(wanted: number, ready = wanted, existing = wanted): { wanted: number; ready: number; existing: number } {
  return { wanted, existing, ready };
}

function spec(settings: Partial<HpaSpec> = {}): HpaSpec {
  return { minReplicas: 1, maxReplicas: 100, scaleUp: DEFAULT_SCALE_UP, scaleDown: DEFAULT_SCALE_DOWN, ...settings };
}

function policy(type: ScalingPolicy['type'], value: number, periodSeconds: number): ScalingPolicy {
  return { type, value, periodSeconds };
}

/** Up and down without any limit in time. */
const FREE: Partial<HpaSpec> = {
  scaleUp: completeRules({ policies: [policy('Pods', 1_000_000, 1)] }, DEFAULT_SCALE_UP),
  scaleDown: completeRules({ stabilizationWindowSeconds: 0 }, DEFAULT_SCALE_DOWN),
};

describe('what one metric asks for', () => {
  // value, target, type, wanted, ready → replicas
  test.each<[number, number, MetricTargetType, number, number, number]>([
    // The documented example: twice the target doubles, half of it halves.
    [200, 100, 'Value', 4, 4, 8],
    [50, 100, 'Value', 4, 4, 2],
    [30, 20, 'AverageValue', 1, 1, 2],
    [1000, 20, 'AverageValue', 1, 1, 50],
    [0, 20, 'AverageValue', 3, 3, 0],
    [0.5, 20, 'AverageValue', 3, 3, 1],
    // Within a tenth of the target nothing is done; beyond it, the whole difference.
    [22, 20, 'AverageValue', 1, 1, 1],
    [22.01, 20, 'AverageValue', 1, 1, 2],
    [90, 10, 'AverageValue', 10, 10, 10],
    [89, 10, 'AverageValue', 10, 10, 9],
    [110, 100, 'Value', 3, 3, 3],
    [111, 100, 'Value', 3, 3, 4],
    // Value multiplies the ready replicas, AverageValue does not look at readiness.
    [200, 100, 'Value', 4, 2, 4],
    [80, 20, 'AverageValue', 2, 0, 4],
  ])('value %s for target %s (%s) with %s wanted and %s ready gives %s', (value, target, type, wanted, ready, expected) => {
    expect(proposeReplicas([metric(value, target, type)], counts(wanted, ready), TOLERANCE).replicas).toBe(expected);
  });

  test('tolerance may differ between up and down', () => {
    const tolerance = { up: 0, down: 0.5 };
    expect(proposeReplicas([metric(41, 20)], counts(2), tolerance).replicas).toBe(3);
    expect(proposeReplicas([metric(21, 20)], counts(2), tolerance).replicas).toBe(2);
    expect(proposeReplicas([metric(19, 20)], counts(2), tolerance).replicas).toBe(1);
  });

  test('a value beyond all bounds asks for the most that Kubernetes can count', () => {
    expect(proposeReplicas([metric(Number.MAX_SAFE_INTEGER, 0.001)], counts(1), TOLERANCE).replicas).toBe(2_147_483_647);
  });

  test('Value with no replica to compare with is invalid', () => {
    expect(proposeReplicas([metric(500, 100, 'Value')], counts(1, 0, 0), TOLERANCE).replicas).toBeUndefined();
  });
});

describe('what several metrics ask for together', () => {
  test('the largest counts', () => {
    const metrics = [metric(20, 20), metric(100, 20, 'AverageValue', 's1-other')];
    expect(proposeReplicas(metrics, counts(2), TOLERANCE).replicas).toBe(5);
  });

  test('an invalid metric does not keep another from adding replicas', () => {
    const proposal = proposeReplicas([metric('UNAVAILABLE', 20), metric(100, 20)], counts(2), TOLERANCE);
    expect(proposal).toMatchObject({ replicas: 5, invalid: expect.stringContaining('UNAVAILABLE') as string });
  });

  test('an invalid metric keeps all others from taking replicas away', () => {
    const proposal = proposeReplicas([metric(20, 20), metric('UNAVAILABLE', 20)], counts(2), TOLERANCE);
    expect(proposal.replicas).toBeUndefined();
    expect(proposal.because).toContain('UNAVAILABLE');
  });

  test('nothing is proposed where all are invalid, or there is none', () => {
    expect(proposeReplicas([metric('down', 20)], counts(2), TOLERANCE).replicas).toBeUndefined();
    expect(proposeReplicas([], counts(2), TOLERANCE).replicas).toBeUndefined();
  });
});

describe('one sync', () => {
  const sync = (settings: Partial<HpaSpec>, value: number | string, wanted: number): HpaDecision =>
    syncHpa(spec(settings), INITIAL_HPA_STATE, [metric(value, 1)], counts(wanted), 0);

  test('leaves zero replicas to KEDA', () => {
    expect(sync({}, 100, 0).desired).toBe(0);
  });

  test('brings a count outside the bounds back without looking at metrics', () => {
    expect(sync({ maxReplicas: 5 }, 'down', 9).desired).toBe(5);
    expect(sync({ minReplicas: 3, maxReplicas: 5 }, 'down', 1).desired).toBe(3);
  });

  test('holds the count while metrics fail', () => {
    expect(sync({}, 'down', 7)).toMatchObject({ desired: 7, reason: expect.stringContaining('down') as string });
  });

  test('doubles or adds four by default, whichever is more', () => {
    expect(sync({}, 100, 1).desired).toBe(5);
    expect(sync({}, 100, 10).desired).toBe(20);
  });

  test('keeps to minReplicas and maxReplicas', () => {
    expect(sync({ ...FREE, maxReplicas: 30 }, 100, 10).desired).toBe(30);
    expect(sync({ ...FREE, minReplicas: 2 }, 0, 10).desired).toBe(2);
  });
});

/** Runs syncs at the given seconds and returns the counts; each sync sees the count that the one before left. */
function timeline(hpa: HpaSpec, start: number, steps: readonly (readonly [second: number, value: number])[]): number[] {
  let state: HpaState = INITIAL_HPA_STATE;
  let wanted = start;
  return steps.map(([second, value]) => {
    const decision = syncHpa(hpa, state, [metric(value, 1)], counts(wanted), second * 1000);
    state = decision.state;
    wanted = decision.desired;
    return wanted;
  });
}

describe('stabilization windows', () => {
  test('by default a lower count waits until no higher one was recommended within 300 s', () => {
    const steps = [0, 15, 30, 285, 299, 300].map((second) => [second, second === 0 ? 10 : 2] as const);
    expect(timeline(spec(), 10, steps)).toEqual([10, 10, 10, 10, 10, 2]);
  });

  test('scaling down goes to the highest count recommended within the window', () => {
    const hpa = spec({ scaleDown: completeRules({ stabilizationWindowSeconds: 60 }, DEFAULT_SCALE_DOWN) });
    expect(
      timeline(hpa, 10, [
        [0, 10],
        [30, 4],
        [61, 6],
        [80, 3],
        [92, 3],
        [122, 3],
      ]),
    ).toEqual([10, 10, 6, 6, 6, 3]);
  });

  test('scaling up goes to the lowest count recommended within its window', () => {
    const hpa = spec({
      scaleUp: completeRules({ stabilizationWindowSeconds: 60, policies: [policy('Pods', 100, 1)] }, DEFAULT_SCALE_UP),
    });
    expect(
      timeline(hpa, 2, [
        [0, 2],
        [15, 9],
        [45, 7],
        [59, 8],
        [60, 8],
        [76, 8],
      ]),
    ).toEqual([2, 2, 2, 2, 7, 7]);
  });

  test('between both windows the count stays', () => {
    const windows = { stabilizationWindowSeconds: 60 };
    const hpa = spec({
      ...FREE,
      scaleUp: completeRules(windows, DEFAULT_SCALE_UP),
      scaleDown: completeRules(windows, DEFAULT_SCALE_DOWN),
    });
    expect(
      timeline(hpa, 5, [
        [0, 5],
        [50, 3],
        [75, 8],
        [100, 3],
      ]),
    ).toEqual([5, 5, 5, 5]);
  });
});

describe('scaling policies', () => {
  const down = (rules: Partial<ScalingRules>): HpaSpec =>
    spec({ scaleDown: completeRules({ stabilizationWindowSeconds: 0, ...rules }, DEFAULT_SCALE_DOWN) });
  const up = (rules: Partial<ScalingRules>): HpaSpec => spec({ scaleUp: completeRules(rules, DEFAULT_SCALE_UP) });

  test('the documented example: of 4 pods and 10 % a minute the larger one counts, so 80 go by 8, 8, 7, … to 40 and then by 4', () => {
    const hpa = down({ policies: [policy('Pods', 4, 60), policy('Percent', 10, 60)] });
    const minutes = Array.from({ length: 12 }, (_, minute) => [minute * 60, 1] as const);
    // 7.2 of 72 are rounded up to 8.
    expect(timeline(hpa, 80, minutes)).toEqual([72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16]);
  });

  test('selectPolicy Min takes the smaller change', () => {
    const policies = [policy('Pods', 5, 60), policy('Percent', 10, 60)];
    expect(timeline(down({ selectPolicy: 'Min', policies }), 20, [[0, 1]])).toEqual([18]);
    expect(timeline(up({ selectPolicy: 'Min', policies }), 20, [[0, 90]])).toEqual([22]);
  });

  test('selectPolicy Disabled keeps that direction still', () => {
    expect(
      timeline(down({ selectPolicy: 'Disabled' }), 20, [
        [0, 1],
        [900, 1],
      ]),
    ).toEqual([20, 20]);
    expect(
      timeline(up({ selectPolicy: 'Disabled' }), 20, [
        [0, 90],
        [900, 90],
      ]),
    ).toEqual([20, 20]);
  });

  test('a policy counts from the replicas at the start of its period, whatever the sync period', () => {
    const hpa = up({ policies: [policy('Pods', 4, 60)] });
    expect(
      timeline(hpa, 1, [
        [0, 90],
        [15, 90],
        [59, 90],
        [60, 90],
        [75, 90],
        [120, 90],
      ]),
    ).toEqual([5, 5, 5, 9, 9, 13]);
  });

  test('replicas taken away within the period may come back at once', () => {
    const hpa = spec({
      scaleUp: completeRules({ policies: [policy('Pods', 1, 60)] }, DEFAULT_SCALE_UP),
      scaleDown: completeRules({ stabilizationWindowSeconds: 0 }, DEFAULT_SCALE_DOWN),
    });
    expect(
      timeline(hpa, 10, [
        [0, 2],
        [15, 90],
      ]),
    ).toEqual([2, 11]);
  });

  test('a percentage rounds up for scaling up, so that one replica can become more', () => {
    expect(timeline(up({ policies: [policy('Percent', 10, 60)] }), 1, [[0, 90]])).toEqual([2]);
  });
});

describe('for any metrics, rules and history', () => {
  const rules = fc.record({
    stabilizationWindowSeconds: fc.integer({ min: 0, max: 600 }),
    selectPolicy: fc.constantFrom('Max', 'Min', 'Disabled'),
    policies: fc.array(
      fc.record({
        type: fc.constantFrom('Pods', 'Percent'),
        value: fc.integer({ min: 1, max: 200 }),
        periodSeconds: fc.integer({ min: 1, max: 1800 }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    tolerance: fc.double({ min: 0, max: 0.9, noNaN: true }),
  });
  const hpas = fc
    .record({
      minReplicas: fc.integer({ min: 1, max: 50 }),
      more: fc.integer({ min: 0, max: 50 }),
      scaleUp: rules,
      scaleDown: rules,
    })
    .map(({ more, ...rest }): HpaSpec => ({ ...rest, maxReplicas: rest.minReplicas + more }));
  const values = fc.double({ min: 0, max: 1e6, noNaN: true });
  const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 400 }), values), { minLength: 1, maxLength: 30 });

  test('the count stays within the bounds once it is within them', () => {
    fc.assert(
      fc.property(hpas, steps, (hpa, walk) => {
        let second = 0;
        const counted = timeline(
          hpa,
          hpa.minReplicas,
          walk.map(([wait, value]) => [(second += wait), value] as const),
        );
        for (const count of counted) {
          expect(count).toBeGreaterThanOrEqual(hpa.minReplicas);
          expect(count).toBeLessThanOrEqual(hpa.maxReplicas);
        }
      }),
    );
  });

  test('a higher value never makes fewer replicas in the same sync', () => {
    fc.assert(
      fc.property(hpas, steps, values, values, (hpa, walk, one, other) => {
        let second = 0;
        const before = walk.map(([wait, value]) => [(second += wait), value] as const);
        const last = (value: number): number => timeline(hpa, hpa.minReplicas, [...before, [second + 15, value]]).at(-1) ?? 0;
        expect(last(Math.max(one, other))).toBeGreaterThanOrEqual(last(Math.min(one, other)));
      }),
    );
  });

  test('no metric that failed takes a replica away', () => {
    fc.assert(
      fc.property(
        hpas,
        fc.array(fc.oneof(values, fc.constant('down')), { minLength: 1, maxLength: 4 }),
        fc.nat(50),
        (hpa, results, more) => {
          fc.pre(results.includes('down'));
          const wanted = Math.min(hpa.maxReplicas, hpa.minReplicas + more);
          const metrics = results.map((result, index) => metric(result, 10, 'AverageValue', `s${index}`));
          expect(syncHpa(hpa, INITIAL_HPA_STATE, metrics, counts(wanted), 0).desired).toBeGreaterThanOrEqual(wanted);
        },
      ),
    );
  });

  test('within any one policy period no more is added than the most generous policy allows', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 5, max: 120 }), steps, (pods, period, walk) => {
        const hpa = spec({
          scaleUp: completeRules({ policies: [policy('Pods', pods, period)] }, DEFAULT_SCALE_UP),
          scaleDown: completeRules({ selectPolicy: 'Disabled' }, DEFAULT_SCALE_DOWN),
          maxReplicas: 1000,
        });
        let second = 0;
        const at = walk.map(([wait, value]) => [(second += wait), value] as const);
        const counted = timeline(hpa, 1, at);
        at.forEach(([end], last) => {
          const first = at.findIndex(([start]) => start > end - period);
          expect((counted[last] ?? 0) - (counted[first - 1] ?? 1)).toBeLessThanOrEqual(pods);
        });
      }),
    );
  });
});
