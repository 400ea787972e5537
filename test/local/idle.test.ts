import { describe, expect, test, vi } from 'vitest';
import type { LoopEvent } from '../../src/local/events.ts';
import { idleWatch } from '../../src/local/idle.ts';

const NONE = { wanted: 0, existing: 0, stopping: 0 };
const ONE = { wanted: 1, existing: 1, stopping: 0 };
const poll = (active: boolean): LoopEvent => ({
  event: 'poll',
  metrics: [],
  active,
  failing: false,
  reason: '',
  replicas: 0,
  ready: 0,
  stopping: 0,
});

describe('idleness', () => {
  test('needs work first: a start at rest is not the end', () => {
    const idle = vi.fn();
    const watch = idleWatch(1, idle);
    watch.heard('a', poll(false), NONE, 0);
    watch.changed('a', NONE, 0);
    expect(idle).not.toHaveBeenCalled();
    watch.heard('a', poll(true), ONE, 0);
    watch.changed('a', NONE, 0);
    expect(idle).toHaveBeenCalledOnce();
  });

  test('waits for workers that are stopping', () => {
    const idle = vi.fn();
    const watch = idleWatch(1, idle);
    watch.heard('a', poll(true), ONE, 0);
    watch.changed('a', { ...NONE, stopping: 1 }, 0);
    expect(idle).not.toHaveBeenCalled();
    watch.changed('a', NONE, 0);
    expect(idle).toHaveBeenCalledOnce();
  });

  test('waits for all objects, and one that wakes again counts no more', () => {
    const idle = vi.fn();
    const watch = idleWatch(2, idle);
    watch.heard('a', poll(true), ONE, 0);
    watch.changed('a', NONE, 0);
    watch.heard('b', poll(true), ONE, 1);
    watch.heard('a', poll(true), NONE, 0);
    watch.changed('b', ONE, 1);
    expect(idle).not.toHaveBeenCalled();
    watch.changed('a', NONE, 0);
    expect(idle).toHaveBeenCalledOnce();
  });
});
