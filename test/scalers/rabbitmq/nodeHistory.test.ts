import { describe, expect, it } from 'vitest';
import { HEALED_MS, SETTLED_MS } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import { createNodeHistory } from '../../../src/scalers/rabbitmq/management/nodeHistory.ts';

const LOOK_MS = 5_000;
const STARTED_AT = -1_000_000;

/** A cluster of two nodes that is looked at every five seconds; the second one is what a test makes of it. */
function createCluster() {
  const history = createNodeHistory();
  let now = 0;
  let startedAt = STARTED_AT;
  const at = (node: { running: boolean; reports: boolean }) => ({
    name: 'r2@h',
    ...node,
    uptimeMs: node.reports ? now - startedAt : undefined,
  });
  function look(running: boolean, reports: boolean): boolean {
    now += LOOK_MS;
    const first = { name: 'r1@h', running: true, reports: true, uptimeMs: now - STARTED_AT };
    return history.see([first, at({ running, reports })], now);
  }
  return {
    well: () => look(true, true),
    silent: () => look(true, false),
    away: () => look(false, false),
    parted: () => look(false, true),
    restart: () => (startedAt = now + LOOK_MS / 2),
    unseen: () => {
      history.unseen((now += LOOK_MS));
    },
    wait: (ms: number) => (now += ms),
    rejoined: () => history.rejoined(now),
    calm: () => history.allSettled(now),
  };
}

describe('a node', () => {
  it('that hung and answers again has rejoined, until long after', () => {
    const node = createCluster();
    node.well();
    expect(node.silent()).toBe(true);
    expect(node.rejoined()).toEqual([]);
    node.away();
    expect(node.well()).toBe(true);
    expect(node.rejoined()).toEqual(['r2@h']);
    for (let ms = LOOK_MS; ms < HEALED_MS - LOOK_MS; ms += LOOK_MS) node.well();
    expect(node.rejoined()).toEqual(['r2@h']);
    node.well();
    node.well();
    expect(node.rejoined()).toEqual([]);
  });

  it('met after nobody told of the cluster in time may have hung then, unless it has just been started', () => {
    const hung = createCluster();
    hung.unseen();
    hung.well();
    expect(hung.rejoined()).toEqual(['r1@h', 'r2@h']);
    hung.wait(HEALED_MS);
    hung.well();
    expect(hung.rejoined()).toEqual([]);
    const started = createCluster();
    started.unseen();
    started.restart();
    started.well();
    expect(started.rejoined()).toEqual(['r1@h']);
  });

  it('that was restarted while it was away has not', () => {
    const node = createCluster();
    node.well();
    node.silent();
    node.restart();
    node.away();
    node.well();
    expect(node.rejoined()).toEqual([]);
  });

  it('that is restarted after it rejoined has not any more', () => {
    const node = createCluster();
    node.well();
    node.away();
    node.parted();
    node.well();
    expect(node.rejoined()).toEqual(['r2@h']);
    node.restart();
    node.away();
    node.well();
    expect(node.rejoined()).toEqual([]);
  });

  it('that told nothing at the first look alone is taken for one of a cluster that has just formed', () => {
    const node = createCluster();
    expect(node.silent()).toBe(true);
    node.well();
    expect(node.rejoined()).toEqual([]);
  });

  it('that was never seen to be well has rejoined when it is back', () => {
    const node = createCluster();
    node.silent();
    node.silent();
    node.well();
    expect(node.rejoined()).toEqual(['r2@h']);
  });

  it('that was just being started when it was first seen has not', () => {
    const node = createCluster();
    node.restart();
    node.wait(LOOK_MS);
    node.silent();
    node.silent();
    node.well();
    expect(node.rejoined()).toEqual([]);
  });

  it('has rejoined, as any of the cluster may have, after nobody told of the nodes in time', () => {
    const node = createCluster();
    node.well();
    node.unseen();
    expect(node.calm()).toBe(false);
    node.well();
    expect(node.rejoined()).toEqual(['r1@h', 'r2@h']);
  });

  it('that is seen to hang is why nobody told of the others, which are not in doubt', () => {
    const node = createCluster();
    node.well();
    node.unseen();
    expect(node.rejoined()).toEqual(['r1@h', 'r2@h']);
    node.silent();
    expect(node.rejoined()).toEqual([]);
    node.unseen();
    expect(node.rejoined()).toEqual([]);
    node.well();
    expect(node.rejoined()).toEqual(['r2@h']);
  });

  it('that is parted from the others has rejoined for as long as that lasts', () => {
    const node = createCluster();
    node.well();
    node.parted();
    node.wait(2 * HEALED_MS);
    expect(node.rejoined()).toEqual(['r2@h']);
  });

  it('that was restarted between two looks has changed', () => {
    const node = createCluster();
    node.well();
    expect(node.well()).toBe(false);
    node.restart();
    expect(node.well()).toBe(true);
    expect(node.well()).toBe(false);
  });
});

describe('a cluster', () => {
  it('is calm at the first look where all nodes have been up for long', () => {
    const cluster = createCluster();
    expect(cluster.calm()).toBe(false);
    cluster.well();
    expect(cluster.calm()).toBe(true);
  });

  it.each(['silent', 'away', 'parted'] as const)('is not calm with a node that is %s', (state) => {
    const cluster = createCluster();
    cluster.well();
    cluster[state]();
    expect(cluster.calm()).toBe(false);
  });

  it('is not calm while a node has just rejoined, nor just after one was restarted', () => {
    const rejoined = createCluster();
    rejoined.silent();
    rejoined.silent();
    rejoined.well();
    rejoined.wait(SETTLED_MS);
    expect(rejoined.calm()).toBe(false);
    const restarted = createCluster();
    restarted.well();
    restarted.restart();
    restarted.well();
    expect(restarted.calm()).toBe(false);
    restarted.wait(SETTLED_MS);
    expect(restarted.calm()).toBe(true);
  });

  it('whose nodes tell no uptime, as without statistics, is calm once it was seen to be well for long', () => {
    const history = createNodeHistory();
    const node = { name: 'r1@h', running: true, reports: true };
    history.see([node], 0);
    expect(history.allSettled(0)).toBe(false);
    history.see([node], SETTLED_MS);
    expect(history.allSettled(SETTLED_MS)).toBe(true);
  });
});
