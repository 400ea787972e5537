/**
 * Reads keys, each from the server that serves it: in batches per server, following redirections, and believing an answer only if its
 * server was still the one to ask.
 */
import { BrokerError, toQueueScalerError, type ErrorCode } from '../../../errors.ts';
import type { RedisNode } from '../topology/node.ts';
import type { KeyRead, KeyReadResult, Step, TypeMemory } from './keyRead.ts';
import { CONFIRM_WINDOW_MS, type Topology } from '../topology/topology.ts';
import { replyError } from '../wire/failures.ts';
import { ErrorReply, type Command, type Reply } from '../wire/reply.ts';
import type { Session } from '../wire/session.ts';

/** Redirections and further steps that one read may take. */
const MAX_TURNS = 12;
/** How long a read whose server changes is tried again, with growing pauses, in ms. */
const RETRY_FOR_MS = 1_500;
/** Reads of one batch: ioredis takes some 7 µs each, and the event loop has other work in between. */
const BATCH_COMMANDS = 200;
const FIRST_PAUSE_MS = 10;

/** Takes the result of a read, and the session that it came from, if one did. */
export type Deliver = (read: KeyRead, result: KeyReadResult, session: Session | undefined) => void;

interface Task {
  readonly read: KeyRead;
  readonly step: Step;
  readonly turn: number;
  readonly startedAt: number;
  readonly pauseMs: number;
  /** Ask this server and no other, with `ASKING`: the key is on its way there. */
  readonly asked?: RedisNode;
}

interface Done {
  readonly task: Task;
  readonly result: KeyReadResult;
}

export interface Reader {
  /** Delivers every result exactly once; never rejects. */
  read(reads: Iterable<KeyRead>, deliver: Deliver, signal: AbortSignal): Promise<void>;
}

export function createReader(topology: Topology, memory: TypeMemory): Reader {
  /** Sessions that may not ask for their own role. */
  const roleForbidden = new WeakSet<Session>();
  const wasPrimary = new WeakMap<RedisNode, boolean>();

  async function turn(tasks: readonly Task[], deliver: Deliver, signal: AbortSignal): Promise<void> {
    const byNode = new Map<RedisNode, Task[]>();
    const retries: Task[] = [];
    try {
      const snapshot = await topology.snapshot();
      for (const task of tasks) {
        const node = task.asked ?? snapshot.nodeOf(task.read.key);
        if (node === undefined) again([task], topology.unserved(task.read.key));
        else {
          const batch = byNode.get(node);
          if (batch === undefined) byNode.set(node, [task]);
          else batch.push(task);
        }
      }
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      for (const { read } of tasks) deliver(read, { error }, undefined);
      return;
    }
    /** Another turn on a newer snapshot, or the error if there is no time left. */
    function again(failed: readonly Task[], error: BrokerError): void {
      for (const task of failed) {
        const { read, startedAt, pauseMs } = task;
        if (signal.aborted || performance.now() - startedAt + pauseMs > RETRY_FOR_MS) deliver(read, { error }, undefined);
        else retries.push({ read, step: read.first(memory), turn: 0, startedAt, pauseMs: pauseMs * 2 });
      }
    }
    await Promise.all(
      [...byNode].flatMap(([node, batch]) => {
        const slices: Task[][] = [];
        for (let at = 0; at < batch.length; at += BATCH_COMMANDS) slices.push(batch.slice(at, at + BATCH_COMMANDS));
        return slices.map((slice) => ask(node, slice, deliver, again, signal));
      }),
    );
    if (retries.length === 0) return;
    const since = performance.now();
    const pauseMs = Math.max(...tasks.map((task) => task.pauseMs));
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    // If there is no newer snapshot, the turn itself fails.
    await topology.snapshotSince(since).catch(() => undefined);
    await turn(retries, deliver, signal);
  }

  async function ask(
    node: RedisNode,
    tasks: readonly Task[],
    deliver: Deliver,
    again: (tasks: readonly Task[], error: BrokerError) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const commands: Command[] = [];
    for (const task of tasks) {
      for (const command of task.step.commands) {
        if (task.asked !== undefined) commands.push(['ASKING']);
        commands.push(command);
      }
    }
    const known = node.session();
    const asksRole = topology.primary !== 'never' && (known === undefined || !roleForbidden.has(known));
    if (asksRole) commands.push(['ROLE']);
    let answer;
    try {
      answer = await node.request(commands);
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      // A deployment of several servers may have another to ask; asking a single one again gains nothing.
      if (topology.primary === 'once' || !(error instanceof BrokerError) || !OUTAGES.has(error.code)) {
        for (const { read } of tasks) deliver(read, { error }, undefined);
      } else again(tasks, error);
      return;
    }
    const { replies, session } = answer;
    const arrivedAt = performance.now();
    if (asksRole && !rolePasses(node, session, replies.at(-1) ?? null)) {
      node.drop();
      again(tasks, notPrimary(node.where));
      return;
    }

    const done: Done[] = [];
    const further: Task[] = [];
    const outdated: Task[] = [];
    let at = 0;
    for (const task of tasks) {
      const own: Reply[] = [];
      for (let count = task.step.commands.length; count > 0; count--) {
        if (task.asked !== undefined) at++;
        own.push(replies[at++] ?? null);
      }
      const redirection = own.find((reply) => reply instanceof ErrorReply && /^(?:MOVED|ASK|TRYAGAIN) /.test(reply.text));
      if (redirection instanceof ErrorReply) {
        const target = redirection.code === 'ASK' ? topology.nodeAt(redirection.text.split(' ')[2] ?? '') : undefined;
        if (target === undefined || task.turn >= MAX_TURNS) outdated.push(task);
        else further.push({ ...task, turn: task.turn + 1, asked: target });
        continue;
      }
      const next = task.step.then(own, node.where);
      if (!('commands' in next)) done.push({ task, result: next });
      else if (task.turn >= MAX_TURNS) done.push({ task, result: { error: tooManySteps(node.where, task.read) } });
      else further.push({ ...task, step: next, turn: task.turn + 1 });
    }
    if (outdated.length > 0)
      again(outdated, new BrokerError('BROKER_BUSY', `${node.where} does not serve the key, and nobody says who does`));

    // Once a batch: the check costs a round trip where others decide who serves a key.
    try {
      const snapshot = done.length === 0 ? undefined : await topology.snapshotSince(arrivedAt - CONFIRM_WINDOW_MS);
      for (const { task, result } of done) {
        if (task.asked !== undefined || snapshot?.nodeOf(task.read.key) === node) deliver(task.read, result, session);
        else again([task], new BrokerError('BROKER_BUSY', `${node.where} no longer serves ${task.read.key}`));
      }
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      for (const { task } of done) deliver(task.read, { error }, undefined);
    }
    if (further.length > 0) await askFurther(further, node, deliver, again, signal);
  }

  /** Further steps go to the same server, or for a key on its way to another to that one. */
  async function askFurther(
    tasks: readonly Task[],
    node: RedisNode,
    deliver: Deliver,
    again: (tasks: readonly Task[], error: BrokerError) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const byNode = new Map<RedisNode, Task[]>();
    for (const task of tasks) {
      const target = task.asked ?? node;
      byNode.set(target, [...(byNode.get(target) ?? []), task]);
    }
    await Promise.all([...byNode].map(([target, batch]) => ask(target, batch, deliver, again, signal)));
  }

  function rolePasses(node: RedisNode, session: Session, reply: Reply): boolean {
    if (reply instanceof ErrorReply) {
      if (replyError(reply, node.where, 'ROLE').code === 'BROKER_FORBIDDEN' || /unknown command/i.test(reply.text))
        roleForbidden.add(session);
      return true;
    }
    const isPrimary = Array.isArray(reply) && reply[0] === 'master';
    if (topology.primary === 'always') return isPrimary;
    const before = wasPrimary.get(node);
    // A name that led to a primary may now lead elsewhere. If it is a replica again after reconnecting, a replica is what is wanted.
    wasPrimary.set(node, isPrimary);
    return isPrimary || before !== true;
  }

  return {
    async read(reads, deliver, signal) {
      const startedAt = performance.now();
      const tasks = [...reads].map((read) => ({ read, step: read.first(memory), turn: 0, startedAt, pauseMs: FIRST_PAUSE_MS }));
      if (tasks.length > 0) await turn(tasks, deliver, signal);
    },
  };
}

/** Failures that another server of the deployment may not have, or the same one in a moment. */
const OUTAGES: ReadonlySet<string> = new Set<ErrorCode>([
  'BROKER_UNREACHABLE',
  'BROKER_TIMEOUT',
  'BROKER_BUSY',
  'BROKER_LOADING',
  'BROKER_NOT_PRIMARY',
  'BROKER_CLUSTER_DOWN',
]);

function tooManySteps(where: string, read: KeyRead): BrokerError {
  return new BrokerError('BROKER_BUSY', `${where} gave no answer for ${read.key} in ${MAX_TURNS} steps`);
}

function notPrimary(where: string): BrokerError {
  return new BrokerError('BROKER_NOT_PRIMARY', `${where} is a replica, not the primary`);
}
