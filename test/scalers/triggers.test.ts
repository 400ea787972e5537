import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CredentialSource, TriggerReference } from '../../src/auth/credentials.ts';
import { noCredentialSource } from '../../src/auth/credentials.ts';
import { BrokerError, TriggerError, type QueueScalerError } from '../../src/errors.ts';
import { noEvents } from '../../src/scalers/brokerEvents.ts';
import { endpoint, key } from '../../src/scalers/metadata.ts';
import { unknown, type Known, type Reading } from '../../src/scalers/reading.ts';
import { createBrokerPool } from '../../src/scalers/brokerPool.ts';
import { defineScaler, type BrokerClient, type Question, type Watcher } from '../../src/scalers/contract.ts';
import type { Sample } from '../../src/scalers/trigger.ts';
import { createTriggers, MAX_METADATA_BYTES } from '../../src/scalers/triggers.ts';
import { decimal, text } from '../../src/scalers/values.ts';
import { ready } from './scriptedBroker.ts';

const never = new AbortController().signal;

/** A scaler whose broker answers by password: what `answers` holds for it. */
function world(source: CredentialSource = noCredentialSource) {
  const answers = new Map<string, () => Reading>();
  const watchers = new Map<string, Watcher>();
  const asked: string[] = [];
  const scaler = defineScaler({
    type: 'scripted',
    doc: 'For tests.',
    keys: {
      queueName: key('The queue.', text(), { required: true }),
      server: key('The broker.', endpoint(text())),
      password: key('The password.', text(), { required: true, secret: true, places: ['metadata', 'authentication'] }),
      value: key('The target.', decimal({ above: 0 }), { default: '20' }),
    },
    rules: ({ queueName }, fault) => {
      if (queueName === 'forbidden') fault('queueName', 'must not be forbidden');
    },
    spec: ({ queueName, value }) => ({ name: `scripted-${queueName}`, target: value }),
    connection: ({ password }) => password,
    question: ({ queueName }): Question => ({ key: queueName, subject: queueName, staleAfterMs: 0 }),
    decide:
      () =>
      ({ measures: { ready = NaN } }: Known<Readonly<{ ready?: number }>>) => ({ value: ready, active: ready > 0, because: [] }),
    backlog: ({ ready }) => ({ waiting: ready, held: undefined }),
    broker: {
      name: 'scripted',
      label: () => 'scripted://broker',
      open: (password): BrokerClient<Question> => ({
        readBatch(questions, report) {
          asked.push(password);
          for (const { key } of questions) report(key, answers.get(password)?.() ?? refusal());
          return Promise.resolve();
        },
        watch(_question, watcher) {
          watchers.set(password, watcher);
          return () => watchers.delete(password);
        },
        close: () => Promise.resolve(),
      }),
    },
  });
  const brokers = createBrokerPool(noEvents);
  return { answers, watchers, asked, brokers, triggers: createTriggers(source, brokers, [scaler]) };
}

function refusal(): Reading {
  return unknown(new BrokerError('BROKER_REFUSED', 'the broker refuses the password'));
}

function reference(metadata: Record<string, string>, name = 'orders'): TriggerReference {
  return { namespace: 'shop', name, metadata: { scaler: 'scripted', ...metadata } };
}

function faultOf(act: () => unknown): TriggerError {
  try {
    act();
  } catch (error) {
    if (error instanceof TriggerError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** A source whose secret can be rotated; like a cache, it reads the secret anew only when told of a refusal. */
function rotating() {
  const state = { secret: 'old', cached: 'old', refusals: 0 };
  const source: CredentialSource = {
    available: true,
    resolve: () => Promise.resolve({ parameters: { password: state.cached }, version: state.cached }),
    refused: () => {
      state.refusals++;
      state.cached = state.secret;
    },
    close: () => Promise.resolve(),
  };
  return { state, source };
}

describe('finding a trigger', () => {
  test('parses it once, however often it is asked for and in whatever order its keys come', () => {
    const { triggers } = world();
    const first = triggers.find(reference({ queueName: 'q', password: 'p' }));
    const again = triggers.find({
      namespace: 'shop',
      name: 'orders',
      metadata: { password: 'p', queueName: 'q', scaler: 'scripted' },
    });
    expect(again).toBe(first);
    expect(triggers.find(reference({ queueName: 'q', password: 'p' }, 'other'))).not.toBe(first);
  });

  test('tells single faults and faults between keys together', () => {
    const error = faultOf(() => world().triggers.find(reference({ queueName: 'forbidden', vlaue: '3' })));
    expect(error.code).toBe('INVALID_TRIGGER');
    expect(error.faults.map(({ key }) => key).sort()).toEqual(['password', 'queueName', 'vlaue']);
    for (const word of ['password', 'queueName', 'vlaue', 'value?']) expect(error.message).toContain(word);
  });

  test('knows the specification before credentials are known, if they may come from elsewhere', () => {
    const { triggers } = world(rotating().source);
    expect(triggers.find(reference({ queueName: 'q' })).spec).toEqual({ name: 'scripted-q', target: 20 });
  });

  test('refuses metadata of absurd size by its largest key, without repeating it', () => {
    const error = faultOf(() => world().triggers.find(reference({ queueName: 'x'.repeat(10_000_000), password: 'p' })));
    expect(error.code).toBe('INVALID_TRIGGER');
    expect(error.faults).toHaveLength(1);
    expect(error.message).toContain('queueName');
    expect(error.message).toContain(String(MAX_METADATA_BYTES));
    expect(error.message.length).toBeLessThan(300);
  });
});

describe('reading a trigger', () => {
  test('decides what its broker said', async () => {
    const { triggers, answers } = world();
    answers.set('p', () => ready(30));
    const sample = await triggers.find(reference({ queueName: 'q', password: 'p' })).read(never);
    expect(sample.decision).toEqual({ value: 30, active: true, because: [] });
  });

  test('rejects with the reason where the reading is unknown', async () => {
    const { triggers } = world();
    await expect(triggers.find(reference({ queueName: 'q', password: 'p' })).read(never)).rejects.toMatchObject({
      code: 'BROKER_REFUSED',
    });
  });

  test('shares one reading cache among triggers with the same credentials, and only among them', async () => {
    const { triggers, answers, brokers } = world();
    for (const password of ['p', 'other']) answers.set(password, () => ready(1));
    for (const [name, password] of Object.entries({ a: 'p', b: 'p', c: 'other' })) {
      await triggers.find(reference({ queueName: name, password }, name)).read(never);
    }
    expect(brokers.all()).toHaveLength(2);
  });

  test('takes a rotated password at once: the refusal is not told to the caller', async () => {
    const { state, source } = rotating();
    const { triggers, answers, asked } = world(source);
    const trigger = triggers.find(reference({ queueName: 'q' }));
    answers.set('old', () => ready(1));
    await trigger.read(never);
    answers.delete('old');
    answers.set('new', () => ready(2));
    state.secret = 'new';
    await vi.waitFor(async () => {
      const { decision } = await trigger.read(never);
      expect(decision.value).toBe(2);
    }, 2_000);
    expect(asked.filter((password) => password === 'old')).toHaveLength(2);
    expect(state.refusals).toBe(1);
  });

  test('asks a broker that refuses once only, when the secret is still the same', async () => {
    const { source } = rotating();
    const { triggers, asked } = world(source);
    await expect(triggers.find(reference({ queueName: 'q' })).read(never)).rejects.toMatchObject({ code: 'BROKER_REFUSED' });
    expect(asked).toEqual(['old']);
  });
});

describe('watching a trigger', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function listener() {
    const samples: Sample[] = [];
    const troubles: QueueScalerError[] = [];
    return {
      samples,
      troubles,
      sample: (sample: Sample) => samples.push(sample),
      trouble: (error: QueueScalerError) => troubles.push(error),
    };
  }

  test('tells every sample and every trouble, and sleeps exactly while the trigger is not active', async () => {
    const { triggers, watchers } = world();
    const heard = listener();
    triggers.find(reference({ queueName: 'q', password: 'p' })).watch(heard);
    await vi.advanceTimersByTimeAsync(0);
    const watcher = watchers.get('p');
    expect(watcher?.sleeping()).toBe(true);
    watcher?.report(ready(3));
    expect(watcher?.sleeping()).toBe(false);
    watcher?.report(refusal());
    watcher?.report(ready(0));
    expect(watcher?.sleeping()).toBe(true);
    expect(heard.samples.map(({ decision }) => decision.active)).toEqual([true, false]);
    expect(heard.troubles.map(({ code }) => code)).toEqual(['BROKER_REFUSED']);
  });

  test('ends when it is stopped', async () => {
    const { triggers, watchers } = world();
    const heard = listener();
    const stop = triggers.find(reference({ queueName: 'q', password: 'p' })).watch(heard);
    await vi.advanceTimersByTimeAsync(0);
    const watcher = watchers.get('p');
    stop();
    expect(watchers.size).toBe(0);
    watcher?.report(ready(3));
    expect(heard.samples).toHaveLength(0);
  });

  test('moves to the new credentials when they change', async () => {
    const { state, source } = rotating();
    const { triggers, watchers } = world(source);
    const heard = listener();
    triggers.find(reference({ queueName: 'q' })).watch(heard);
    await vi.advanceTimersByTimeAsync(0);
    state.secret = 'new';
    watchers.get('old')?.report(refusal());
    await vi.advanceTimersByTimeAsync(5_001);
    expect([...watchers.keys()]).toEqual(['new']);
  });

  test('goes on trying when credentials cannot be had', async () => {
    const { source } = rotating();
    let broken = true;
    const flaky: CredentialSource = {
      ...source,
      resolve: (...args) =>
        broken ? Promise.reject(new TriggerError('AUTHENTICATION_UNRESOLVED', 'no such secret')) : source.resolve(...args),
    };
    const { triggers, watchers } = world(flaky);
    const heard = listener();
    triggers.find(reference({ queueName: 'q' })).watch(heard);
    await vi.advanceTimersByTimeAsync(0);
    expect(heard.troubles.map(({ code }) => code)).toEqual(['AUTHENTICATION_UNRESOLVED']);
    broken = false;
    await vi.advanceTimersByTimeAsync(5_001);
    expect([...watchers.keys()]).toEqual(['old']);
  });
});
