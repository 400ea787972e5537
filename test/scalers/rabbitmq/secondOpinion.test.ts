import { expect, it } from 'vitest';
import { BrokerError, QueueError } from '../../../src/errors.ts';
import type { BulkReader, Listed, QueueStats } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import { createSecondOpinion } from '../../../src/scalers/rabbitmq/read/secondOpinion.ts';
import { ask, stats } from './questionFixture.ts';

type Answer = QueueStats | Error | undefined;

const question = ask({ kind: 'queue', name: 'q' });
const nothing: QueueStats = {
  ...stats('q', 0, { type: 'quorum' }),
  ready: undefined,
  unacknowledged: undefined,
  messages: undefined,
};
const quorum = (messages: number): QueueStats => stats('q', messages, { type: 'quorum' });
const from = (row: QueueStats, kind: Listed['kind'] = 'totals'): Listed => ({ stats: row, kind, at: 1 });

/** What is told in the end, where further readers answer that, and who of them was asked. */
async function told(first: Listed, others: readonly (readonly [BulkReader, Answer])[], agree = true, about = question) {
  const asked: BulkReader[] = [];
  const answers = new Map(others);
  const secondOpinion = createSecondOpinion({
    beside: () => others.map(([reader]) => reader),
    listedBy(reader) {
      asked.push(reader);
      const answer = answers.get(reader);
      if (answer instanceof Error) return Promise.reject(answer);
      const kind = reader === 'single' ? 'statistics' : reader === 'counters' ? 'prometheus' : reader;
      return Promise.resolve(answer && { stats: answer, kind, at: 2 });
    },
  });
  return { listed: await secondOpinion(about, first, agree), asked };
}

it.each<[string, Answer]>([
  ['a row without figures', nothing],
  ['a row in trouble', { ...nothing, error: new QueueError('QUEUE_DOWN', 'queue q is down') }],
  ['no row', undefined],
  ['a failure', new BrokerError('BROKER_TIMEOUT', 'no answer')],
])('%s never replaces a zero that was counted', async (_, answer) => {
  expect((await told(from(quorum(0)), [['single', answer]])).listed).toEqual(from(quorum(0)));
});

it('a zero is agreed on by the first reader that has the figures', async () => {
  const { listed, asked } = await told(from(quorum(0)), [
    ['single', nothing],
    ['prometheus', quorum(0)],
    ['counters', quorum(3)],
  ]);
  expect(listed).toEqual({ ...from(quorum(0)), agreed: 'prometheus' });
  expect(asked).toEqual(['single', 'prometheus']);
});

it('messages that another reader has replace a zero, but for rates, which only the first has', async () => {
  const others = [['prometheus', quorum(3)]] as const;
  expect((await told(from(quorum(0)), others)).listed).toMatchObject({ kind: 'prometheus', stats: { messages: 3 } });
  const rates = ask({ kind: 'queue', name: 'q' }, { needs: 'rates' });
  expect((await told(from(quorum(0), 'statistics'), others, true, rates)).listed).toEqual(from(quorum(0), 'statistics'));
});

it('what a list lacks another has, and its zero needs a third', async () => {
  const stream = { ...nothing, type: 'stream' };
  const others = [
    ['single', quorum(0)],
    ['prometheus', quorum(0)],
  ] as const;
  expect((await told(from(stream), others)).listed).toMatchObject({ kind: 'statistics', agreed: 'prometheus' });
  expect((await told(from(stream), others, false)).asked).toEqual(['single']);
});

it('of rows without figures the one is told that says why, and a failure where none says it', async () => {
  const error = new QueueError('VALUE_IMPLAUSIBLE', 'queue q: a field of it is told twice');
  expect((await told(from(nothing), [['single', { ...nothing, error }]])).listed).toMatchObject({ stats: { error } });
  await expect(told(from(nothing), [['single', new BrokerError('BROKER_TIMEOUT', 'no answer')]])).rejects.toThrow('no answer');
});

it('nobody else is asked about messages, a classic queue’s own zero, or a queue in trouble', async () => {
  const down = { ...nothing, error: new QueueError('QUEUE_DOWN', 'queue q is down') };
  for (const first of [quorum(3), stats('q', 0), down])
    expect((await told(from(first), [['single', quorum(9)]])).asked).toEqual([]);
});

it('metrics that contradict each other are asked around', async () => {
  const error = new QueueError('VALUE_IMPLAUSIBLE', 'queue q: more than one node claims to lead it');
  const { listed } = await told(from({ ...quorum(3), error }, 'prometheus'), [['totals', quorum(5)]], false);
  expect(listed).toMatchObject({ kind: 'totals', stats: { messages: 5 } });
});

it('a stream’s statistics need the metrics to agree, which are of one leader or contradict each other', async () => {
  const stream = (messages: number): QueueStats => stats('q', messages, { type: 'stream', replicated: true });
  const error = new QueueError('VALUE_IMPLAUSIBLE', 'queue q: more than one node claims to lead it');
  const by = async (metrics: QueueStats) => {
    const others = [['single', stream(16)] as const, ['prometheus', metrics] as const];
    return (await told(from({ ...nothing, type: 'stream' }), others)).listed;
  };
  expect(await by(stream(16))).toMatchObject({ kind: 'statistics', agreed: 'prometheus' });
  expect(await by(stream(8))).toMatchObject({ kind: 'prometheus', stats: { messages: 8 } });
  expect(await by({ ...stream(8), error })).toMatchObject({ stats: { error } });
  const first = from({ ...stream(8), error }, 'prometheus');
  expect((await told(first, [['single', stream(16)]])).listed).toEqual(first);
  expect((await told(first, [['single', stream(16)]], false)).listed).toMatchObject({ kind: 'statistics' });
});

it('of two without figures the one that says why stays', async () => {
  const down = { ...nothing, error: new QueueError('QUEUE_DOWN', 'queue q is down') };
  expect((await told(from(down, 'prometheus'), [['single', nothing]])).listed).toEqual(from(down, 'prometheus'));
  expect((await told(from(nothing), [['single', down]])).listed).toMatchObject({ kind: 'statistics', stats: down });
});
