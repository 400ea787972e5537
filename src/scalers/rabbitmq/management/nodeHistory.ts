/**
 * What successive looks at a cluster's nodes tell beyond the last of them: which nodes changed, which hung or were cut off lately and
 * came back without a restart, and whether all have been well for long.
 */
import { HEALED_MS, SETTLED_MS, type Node } from './clusterState.ts';

export interface NodeHistory {
  /** Records what the nodes were like at that time, in ms of `performance.now()`. True if one came, went, hung or was restarted. */
  see(nodes: readonly Node[], at: number): boolean;
  /** Records that nobody told of the nodes in time, as while one of them hangs. */
  unseen(at: number): void;
  /** Nodes that are back after they hung or were cut off, not longer than {@link HEALED_MS} ago, and were not restarted. */
  rejoined(now: number): readonly string[];
  /** When last seen, every node ran and reported, and had done so for {@link SETTLED_MS}. */
  allSettled(now: number): boolean;
}

interface Track {
  readonly node: Node;
  readonly at: number;
  /** When it was seen to be well before it was not; of one that never was, long enough before that for it to have been just started. */
  readonly wellAt: number;
  /** When it was last seen to be anything but well; undefined after a restart. */
  readonly unwellAt: number | undefined;
  /** Since when it has been seen to be well. */
  readonly wellSince: number | undefined;
}

export function createNodeHistory(): NodeHistory {
  let tracks: ReadonlyMap<string, Track> = new Map();
  /** When the nodes were last asked in vain and none was known to be the reason: any of them may have hung then. */
  let unseenAt: number | undefined;

  return {
    see(nodes, at) {
      const before = tracks;
      // One that is unwell now is why nobody answered.
      const suspectedAt = nodes.length > 1 && nodes.every(isWell) ? unseenAt : undefined;
      unseenAt = undefined;
      tracks = new Map(nodes.map((node) => [node.name, follow(before.get(node.name), node, at, suspectedAt)]));
      // A cluster first met in trouble may have been in it for a moment only.
      if (before.size === 0) return nodes.some((node) => !isWell(node));
      return before.size !== tracks.size || [...tracks.values()].some((track) => isChanged(before.get(track.node.name), track));
    },
    unseen(at) {
      if ([...tracks.values()].every(({ node }) => isWell(node))) unseenAt = at;
      else tracks = new Map([...tracks].map(([name, track]) => [name, isWell(track.node) ? track : { ...track, unwellAt: at }]));
    },
    rejoined: (now) =>
      [...tracks.values()]
        .filter((track) => hasRejoined(track, now) || (tracks.size > 1 && unseenAt !== undefined && track.node.reports))
        .map(({ node }) => node.name),
    allSettled: (now) =>
      tracks.size > 0 && unseenAt === undefined && [...tracks.values()].every((track) => isSettled(track, now)),
  };
}

function isWell({ running, reports }: Node): boolean {
  return running && reports;
}

function follow(before: Track | undefined, node: Node, at: number, suspectedAt: number | undefined): Track {
  const { wellAt, unwellAt: seenUnwellAt } = before ?? { wellAt: at - SETTLED_MS, unwellAt: undefined };
  const unwellAt = suspectedAt ?? seenUnwellAt;
  // Those of a cluster that has just formed tell nothing of themselves at first, so that one look at a stranger is no proof.
  if (!isWell(node)) return { node, at, wellAt, unwellAt: before === undefined ? undefined : at, wellSince: undefined };
  const wellSince = wasRestarted(before, node, at) ? at : (before?.wellSince ?? at);
  // It may be counted twice for a while unless it began anew since it was last well.
  const inDoubt = unwellAt !== undefined && at - unwellAt < HEALED_MS && !startedAfter(wellAt, node, at);
  return inDoubt ? { node, at, wellAt, unwellAt, wellSince } : { node, at, wellAt: at, unwellAt: undefined, wellSince };
}

function startedAfter(time: number, { uptimeMs }: Node, at: number): boolean {
  return uptimeMs !== undefined && at - uptimeMs > time;
}

function wasRestarted(before: Track | undefined, node: Node, at: number): boolean {
  return before !== undefined && startedAfter(before.at, node, at);
}

function isChanged(before: Track | undefined, { node, at }: Track): boolean {
  if (before === undefined) return true;
  return before.node.running !== node.running || before.node.reports !== node.reports || wasRestarted(before, node, at);
}

/** A node that reports and does not run, as the others see it, is back from the other side of a split, and stays so until its restart. */
function hasRejoined({ node, unwellAt }: Track, now: number): boolean {
  if (!node.reports) return false;
  return !node.running || (unwellAt !== undefined && now - unwellAt < HEALED_MS);
}

function isSettled({ node, at, unwellAt, wellSince = Infinity }: Track, now: number): boolean {
  if (!isWell(node) || unwellAt !== undefined) return false;
  return now - Math.min(wellSince, at - (node.uptimeMs ?? 0)) >= SETTLED_MS;
}
