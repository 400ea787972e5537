/**
 * What every scaler owes KEDA, whatever its broker: each scaler's test calls this with a real broker, and all is asked through the
 * real gRPC server by the KEDA double.
 */
import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Scaler } from '../../src/scalers/contract.ts';
import type { Explanation } from '../../src/scalers/explanation.ts';
import { get, startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import type { KedaTrigger } from '../keda/client.ts';

type Metadata = Readonly<Record<string, string>>;

/** A broker with what the suite does to it. */
export interface ConformanceBed {
  /** A valid trigger on the queue, without target and activation; the queue exists afterwards. */
  trigger(queue: string): Promise<Metadata> | Metadata;
  put(queue: string, messages: number): Promise<void>;
  /** Takes all messages out. */
  drain(queue: string): Promise<void>;
  /** Takes messages and keeps them unacknowledged; only where the scaler sees work in progress. */
  hold?(queue: string, messages: number): Promise<void>;
  /** Finishes all work in progress on the queue. */
  finish?(queue: string): Promise<void>;
  /** Ends the broker without a word. */
  kill(): Promise<void>;
  /** Starts it again on the same port; it may have forgotten everything. */
  restart(): Promise<void>;
  /** Connections that the broker has from the scaler now. */
  connections(): Promise<number>;
  close(): Promise<void>;
}

export interface Conformance {
  /** Value of `metadata.scaler`. */
  readonly scaler: string;
  /** The scalers to serve, where the one under test is not in the registry. */
  readonly scalers?: readonly Scaler[];
  start(): Promise<ConformanceBed>;
  /** The scaler's names of its keys. */
  readonly keys: { readonly target: string; readonly activation: string };
  /** Left out where the target is required; the bed's triggers then say 5. */
  readonly defaultTarget?: number;
  /** Texts that must never be seen, such as the broker's password. */
  readonly secrets: readonly string[];
  /** Triggers that go wrong, and what the failure must say; `wrongPassword` holds the text `s3cret-wrong`. */
  readonly wrong: {
    password?(trigger: Metadata): Metadata;
    port(trigger: Metadata): Metadata;
    /** TLS to the plain port. */
    tls?(trigger: Metadata): Metadata;
  };
  /** Most connections for any number of triggers on one broker. */
  readonly maxConnections: number;
  /** From a message in an idle queue to the push, in ms. */
  readonly wakeMs?: number;
}

/** A password for the triggers of `wrong.password`. */
export const WRONG_PASSWORD = 's3cret-wrong';

const SOON_MS = 10_000;
const RECOVERY_MS = 30_000;

export function conformance(options: Conformance): void {
  const { keys, secrets } = options;
  let bed: ConformanceBed;
  let scaler: TestScaler;
  let queues = 0;
  const seen: string[] = [];

  beforeAll(async () => {
    bed = await options.start();
    scaler = await startScaler({ page: true, ...(options.scalers === undefined ? {} : { scalers: options.scalers }) });
  });
  afterAll(async () => {
    await scaler.close();
    await bed.close();
  });

  async function trigger(queue: string, more: Metadata = {}): Promise<KedaTrigger> {
    return scaler.client.trigger({ name: queue, metadata: { ...(await bed.trigger(queue)), ...more } });
  }
  const newQueue = (): string => `conformance-${++queues}`;
  const value = async (asked: KedaTrigger): Promise<number | undefined> => (await asked.poll()).metrics[0]?.value;

  /** Whether the trigger's latest reading was taken after that time, in ms of `performance.now()`. */
  async function wasReadSince(name: string, since: number): Promise<boolean> {
    const askedAt = performance.now();
    const page = async <T>(path: string): Promise<T> => JSON.parse((await get(scaler.http, path)).text) as T;
    const id = (await page<{ id: string; name: string }[]>('/api/triggers')).find((row) => row.name === name)?.id ?? '';
    const { explanation } = await page<{ explanation: Explanation }>(`/api/trigger?id=${encodeURIComponent(id)}`);
    return askedAt - (explanation.reading?.ageMs ?? Infinity) > since;
  }

  async function failure(promise: Promise<unknown>): Promise<ServiceError> {
    try {
      await promise;
    } catch (error) {
      seen.push(String(error), JSON.stringify(error));
      return error as ServiceError;
    }
    throw new Error('answered, though it should have failed');
  }

  describe(`scaler ${options.scaler}`, () => {
    it('answers the default target and the one that is asked for, without asking the broker', async () => {
      const queue = newQueue();
      expect(await (await trigger(queue)).spec()).toMatchObject([{ target: options.defaultTarget ?? 5 }]);
      expect(await (await trigger(queue, { [keys.target]: '7' })).spec()).toMatchObject([{ target: 7 }]);
    });

    it('reads an empty queue as zero and inactive', async () => {
      const asked = await trigger(newQueue());
      expect(await asked.poll()).toMatchObject({ metrics: [{ value: 0 }], active: false });
    });

    it('reads every message, as float and as integer, and is active', async () => {
      const queue = newQueue();
      const asked = await trigger(queue);
      await bed.put(queue, 30);
      await expect.poll(() => asked.poll(), { timeout: SOON_MS }).toMatchObject({ metrics: [{ value: 30 }], active: true });
      const { metricValues } = (await scaler.client.call('GetMetrics', { scaledObjectRef: asked.reference })) as {
        metricValues: { metricValue: number; metricValueFloat: number }[];
      };
      expect(metricValues).toMatchObject([{ metricValue: 30, metricValueFloat: 30 }]);
    });

    it('is active strictly above the activation value', async () => {
      const queue = newQueue();
      await bed.trigger(queue);
      await bed.put(queue, 5);
      const at = await trigger(queue, { [keys.activation]: '5' });
      const below = await trigger(queue, { [keys.activation]: '4' });
      await expect.poll(() => at.poll(), { timeout: SOON_MS }).toMatchObject({ metrics: [{ value: 5 }], active: false });
      await expect.poll(() => below.poll(), { timeout: SOON_MS }).toMatchObject({ metrics: [{ value: 5 }], active: true });
    });

    it('stays active while work is in progress, and is inactive once it is done', async ({ skip }) => {
      if (bed.hold === undefined || bed.finish === undefined) return skip('this scaler sees no work in progress');
      const queue = newQueue();
      const asked = await trigger(queue);
      await bed.put(queue, 1);
      await expect.poll(() => asked.poll(), { timeout: SOON_MS }).toMatchObject({ active: true });
      await bed.hold(queue, 1);
      const heldAt = performance.now();
      const seen: boolean[] = [];
      await until('a reading taken while the work is held', async () => {
        seen.push((await asked.poll()).active);
        return wasReadSince(queue, heldAt);
      });
      expect(new Set(seen)).toEqual(new Set([true]));
      await bed.finish(queue);
      await expect.poll(() => asked.poll(), { timeout: SOON_MS }).toMatchObject({ active: false });
    });

    it(`pushes that there is work within ${options.wakeMs ?? 3_000} ms, and that there is none`, async () => {
      const queue = newQueue();
      const stream = (await trigger(queue)).push();
      await stream.next(false);
      const startedAt = performance.now();
      await bed.put(queue, 1);
      await stream.next(true, options.wakeMs ?? 3_000);
      expect(performance.now() - startedAt).toBeLessThan(options.wakeMs ?? 3_000);
      await bed.drain(queue);
      await stream.next(false, SOON_MS);
      stream.close();
    });

    it('shares its connections among all triggers of one broker', async () => {
      const triggers = await Promise.all(Array.from({ length: 50 }, () => trigger(newQueue())));
      await Promise.all(triggers.map((each) => each.poll()));
      expect(await bed.connections()).toBeLessThanOrEqual(options.maxConnections);
    });

    it('tells a misspelt key, with the nearest right one, beside every other fault', async () => {
      const misspelt = `${keys.target.slice(0, -1)}${keys.target.endsWith('x') ? 'y' : 'x'}`;
      const error = await failure(
        scaler.client
          .trigger({ metadata: { ...(await bed.trigger(newQueue())), [misspelt]: '1', [keys.activation]: 'NaN' } })
          .spec(),
      );
      expect(error.code).toBe(status.INVALID_ARGUMENT);
      expect(error.details).toContain(`${misspelt} is not a key of this scaler; did you mean ${keys.target}?`);
      expect(error.details).toContain(`${keys.activation} must be a`);
    });

    it.each(['-1', 'NaN', '1e999', '0', ' ', 'ten'])('takes no %j for a target', async (target) => {
      const asked = await trigger(newQueue(), { [keys.target]: target });
      const isAbsent = target.trim() === '';
      if (isAbsent && options.defaultTarget !== undefined) {
        expect(await asked.spec()).toMatchObject([{ target: options.defaultTarget }]);
        return;
      }
      const error = await failure(asked.spec());
      expect(error.code).toBe(status.INVALID_ARGUMENT);
      expect(error.details).toContain(`${keys.target} ${isAbsent ? 'is required' : 'must be a'}`);
    });

    it('says that a password is wrong, and not the password', async ({ skip }) => {
      if (options.wrong.password === undefined) return skip('this broker has no password');
      const metadata = options.wrong.password(await bed.trigger(newQueue()));
      const error = await failure(scaler.client.trigger({ metadata }).poll());
      expect(error.code).toBe(status.UNAVAILABLE);
      expect(error.metadata.get('queue-scaler-error')).toEqual(['BROKER_REFUSED']);
    });

    it('says that nothing answers at a wrong port', async () => {
      const metadata = options.wrong.port(await bed.trigger(newQueue()));
      const error = await failure(scaler.client.trigger({ metadata }).poll());
      expect(error.code).toBe(status.UNAVAILABLE);
      expect(error.metadata.get('queue-scaler-error')).toEqual(['BROKER_UNREACHABLE']);
    });

    it('says that a plain port speaks no TLS', async ({ skip }) => {
      if (options.wrong.tls === undefined) return skip('not to be had with this scaler');
      const metadata = options.wrong.tls(await bed.trigger(newQueue()));
      const trigger = scaler.client.trigger({ metadata });
      // A handshake that nobody takes part in lasts longer than a call may.
      await until('the reason is told', async () => {
        const error = await failure(trigger.poll());
        expect(error.code).toBe(status.UNAVAILABLE);
        return error.metadata.get('queue-scaler-error').join() === 'TLS_FAILED';
      });
    });

    it('is an error and never zero while the broker is dead, still has its spec, and comes back by itself', async () => {
      const queue = newQueue();
      const known = await trigger(queue);
      const neverRead = await trigger(newQueue());
      await bed.put(queue, 30);
      await expect.poll(() => value(known), { timeout: SOON_MS }).toBe(30);
      await bed.kill();
      try {
        expect((await failure(neverRead.poll())).code).toBe(status.UNAVAILABLE);
        expect(await neverRead.spec()).toHaveLength(1);
        const startedAt = performance.now();
        let error: ServiceError | undefined;
        // The last known reading may stand in for a while; anything else but an error would be made up.
        while (error === undefined && performance.now() - startedAt < RECOVERY_MS) {
          const answer = await value(known).catch((thrown: unknown) => thrown as ServiceError);
          if (answer instanceof Error) error = answer;
          else expect(answer).toBe(30);
        }
        expect(error?.code).toBe(status.UNAVAILABLE);
      } finally {
        await bed.restart();
      }
      const after = newQueue();
      const again = await trigger(after);
      await bed.put(after, 7);
      await expect.poll(() => value(again).catch(() => 'unknown'), { timeout: RECOVERY_MS }).toBe(7);
    }, 120_000);

    it('never shows a password: not in logs, errors or metrics', async () => {
      const everything = [...scaler.log, ...seen, await scaler.metrics()].join('\n');
      expect(everything).not.toBe('');
      for (const secret of [...secrets, WRONG_PASSWORD]) expect(everything).not.toContain(secret);
    });
  });
}
