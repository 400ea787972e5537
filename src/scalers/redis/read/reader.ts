/**
 * Reads keys, each from the server that serves it: in batches per server, following redirections, and believing an answer only if its
 * server was still the one to ask.
 */
import { BrokerError, toQueueScalerError } from '../../../errors.ts';
import type { RedisNode } from '../topology/node.ts';
import type { KeyRead, KeyReadResult, ReadMemory, Step } from './keyRead.ts';
import { CONFIRM_WINDOW_MS, type Topology } from '../topology/topology.ts';
import { isReplica, replyError } from '../wire/failures.ts';
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
  readonly target?: RedisNode;
}

/** Delivers every result exactly once; never rejects. */
export type Reader = (reads: Iterable<KeyRead>, deliver: Deliver, signal: AbortSignal) => Promise<void>;

export function createReader(topology: Topology, memory: ReadMemory): Reader {
  /** Sessions that may not ask for their own role. */
  const roleForbidden = new WeakSet<Session>();

  async function turn(tasks: readonly Task[], deliver: Deliver, signal: AbortSignal): Promise<void> {
    const retries: Task[] = [];
    /** Another turn on a newer snapshot, or the error if there is no time left. */
    function again(failed: readonly Task[], error: BrokerError): void {
      for (const { read, startedAt, pauseMs } of failed) {
        if (signal.aborted || performance.now() - startedAt + pauseMs > RETRY_FOR_MS) deliver(read, { error }, undefined);
        else retries.push({ read, step: read.first(memory), turn: 0, startedAt, pauseMs: pauseMs * 2 });
      }
    }
    function fail(failed: readonly Task[], thrown: unknown): void {
      for (const { read } of failed) deliver(read, { error: toQueueScalerError(thrown) }, undefined);
    }

    async function ask(node: RedisNode, asked: readonly Task[]): Promise<void> {
      const commands = asked.flatMap(({ step, target }) =>
        target === undefined ? step.commands : step.commands.flatMap((command): Command[] => [['ASKING'], command]),
      );
      const known = node.session();
      const asksRole = !topology.anyRole && (known === undefined || !roleForbidden.has(known));
      if (asksRole) commands.push(['ROLE']);
      let answer;
      try {
        answer = await node.request(commands);
      } catch (thrown) {
        // A deployment of several servers may have another to ask; asking a single one again gains nothing.
        const elsewhere = topology.several && thrown instanceof BrokerError && thrown.spec.retry === 'endpoint';
        if (elsewhere) again(asked, thrown);
        else fail(asked, thrown);
        return;
      }
      const { replies, session } = answer;
      const arrivedAt = performance.now();
      if (asksRole && !rolePasses(node, session, replies.at(-1) ?? null)) {
        node.drop();
        again(asked, isReplica(node.where));
        return;
      }

      const done = new Map<Task, KeyReadResult>();
      const further: Task[] = [];
      const outdated: Task[] = [];
      let at = 0;
      for (const task of asked) {
        const { read, step, target } = task;
        const own = step.commands.map(() => {
          if (target !== undefined) at++;
          return replies[at++] ?? null;
        });
        const redirection = own.find((reply) => reply instanceof ErrorReply && /^(?:MOVED|ASK|TRYAGAIN) /.test(reply.text));
        if (redirection instanceof ErrorReply) {
          const next = redirection.code === 'ASK' ? topology.nodeAt(redirection.text.split(' ')[2] ?? '') : undefined;
          if (next === undefined || task.turn >= MAX_TURNS) outdated.push(task);
          else further.push({ ...task, turn: task.turn + 1, target: next });
          continue;
        }
        const next = step.then(own, node.where);
        if (!('commands' in next)) done.set(task, next);
        else if (task.turn < MAX_TURNS) further.push({ ...task, step: next, turn: task.turn + 1 });
        else {
          const error = new BrokerError('BROKER_BUSY', `${node.where} gave no answer for ${read.key} in ${MAX_TURNS} steps`);
          done.set(task, { error });
        }
      }
      if (outdated.length > 0)
        again(outdated, new BrokerError('BROKER_BUSY', `${node.where} does not serve the key, and nobody says who does`));

      // Once a batch: the check costs a round trip where others decide who serves a key.
      try {
        const snapshot = done.size === 0 ? undefined : await topology.snapshotSince(arrivedAt - CONFIRM_WINDOW_MS);
        for (const [task, result] of done) {
          if (task.target !== undefined || snapshot?.nodeOf(task.read.key) === node) deliver(task.read, result, session);
          else again([task], new BrokerError('BROKER_BUSY', `${node.where} no longer serves ${task.read.key}`));
        }
      } catch (thrown) {
        fail([...done.keys()], thrown);
      }
      await askEach(further, () => node);
    }

    /** Asks for all tasks, each at the server that its key is on its way to, or else at the one that serves it. */
    async function askEach(all: readonly Task[], nodeOf: (key: string) => RedisNode | undefined): Promise<void> {
      const byNode = new Map<RedisNode, Task[]>();
      for (const task of all) {
        const node = task.target ?? nodeOf(task.read.key);
        const batch = node && byNode.get(node);
        if (node === undefined) again([task], topology.unserved(task.read.key));
        else if (batch === undefined) byNode.set(node, [task]);
        else batch.push(task);
      }
      const asking: Promise<void>[] = [];
      for (const [node, batch] of byNode)
        for (let at = 0; at < batch.length; at += BATCH_COMMANDS) asking.push(ask(node, batch.slice(at, at + BATCH_COMMANDS)));
      await Promise.all(asking);
    }

    let snapshot;
    try {
      snapshot = await topology.snapshot();
    } catch (thrown) {
      fail(tasks, thrown);
      return;
    }
    await askEach(tasks, snapshot.nodeOf);
    if (retries.length === 0) return;
    const since = performance.now();
    const pauseMs = Math.max(...tasks.map((task) => task.pauseMs));
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    // If there is no newer snapshot, the turn itself fails.
    await topology.snapshotSince(since).catch(() => undefined);
    await turn(retries, deliver, signal);
  }

  function rolePasses(node: RedisNode, session: Session, reply: Reply): boolean {
    if (reply instanceof ErrorReply) {
      if (replyError(reply, node.where, 'ROLE').code === 'BROKER_FORBIDDEN' || /unknown command/i.test(reply.text))
        roleForbidden.add(session);
      return true;
    }
    return Array.isArray(reply) && reply[0] === 'master';
  }

  return async (reads, deliver, signal) => {
    const startedAt = performance.now();
    const tasks = [...reads].map((read) => ({ read, step: read.first(memory), turn: 0, startedAt, pauseMs: FIRST_PAUSE_MS }));
    if (tasks.length > 0) await turn(tasks, deliver, signal);
  };
}
