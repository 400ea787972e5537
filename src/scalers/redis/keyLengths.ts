/**
 * The triggers on the length of Redis lists, sets, sorted sets and hashes: `redis`, `redis-sentinel`, `redis-cluster`.
 */
import { fingerprint } from '../../auth/secret.ts';
import { QueueError } from '../../errors.ts';
import { key } from '../metadata.ts';
import { metricName } from '../metricName.ts';
import { defineScaler, type Decision, type Scaler } from '../contract.ts';
import { flag, oneOf, text, whole } from '../values.ts';
import { inProgressKey, type InProgress } from '../inProgress.ts';
import { asksDeployment } from './deployment.ts';
import { addressNotes, CONNECTION_KEYS, connectionRules, KEYS_OF_KIND, type DeploymentKind } from './keys.ts';
import type { Known } from '../reading.ts';
import { excepting, parseNames } from './names.ts';
import type { KeysQuestion, Measures } from './question.ts';

const names = () =>
  text()
    .transform(parseNames)
    .refine((patterns) => patterns.length > 0, 'must name a key');

const LIST_KEYS = {
  listName: key(
    'Key of a list, set, sorted set or hash. Also several, separated by commas, or patterns such as `bull:*:wait`; a backslash makes `,`, `*`, `?` and `[` plain.',
    names(),
    { required: true },
  ),
  listLength: key('Target: messages per replica.', whole({ min: 1 }), { default: '5' }),
  activationListLength: key('The trigger is active above this many messages.', whole({ min: 0 }), { default: '0' }),
  operation: key('How several keys become one number: their sum, or the longest.', oneOf(['sum', 'max']), { default: 'sum' }),
  processingListName: key(
    'Keys where workers keep what they are working on, as in `listName`: added to the number, and active as long as there are any.',
    names(),
  ),
  exclude: key(
    'Keys that do not count although a pattern of `listName` or `processingListName` finds them, as in `listName`.',
    names(),
  ),
  inProgress: inProgressKey('messages under `processingListName`'),
  requireMatch: key(
    'Whether it is an error that none of the keys has ever been seen: an empty list looks just like a wrong name.',
    flag(),
    { default: 'false' },
  ),
};

function defineLists(type: string, kind: DeploymentKind, doc: string): Scaler {
  const keys: typeof LIST_KEYS & typeof CONNECTION_KEYS = { ...LIST_KEYS, ...CONNECTION_KEYS, ...KEYS_OF_KIND[kind] };
  return defineScaler({
    type,
    doc,
    keys,
    advice: async () => (await import('./advice.ts')).listAdvice(kind),
    ...asksDeployment(kind),
    rules(values, fault, awaited, metadata) {
      connectionRules(values, fault, awaited, metadata);
      const named = [...(values.listName ?? []), ...(values.processingListName ?? [])];
      if (values.exclude !== undefined && named.length > 0 && !named.some(({ glob }) => glob))
        fault('exclude', 'leaves out nothing: no key is a pattern, and a key that is named counts');
      if (values.inProgress !== undefined && values.processingListName === undefined)
        fault('inProgress', 'goes with processingListName: nothing else tells what workers hold');
    },
    spec: (values) => ({
      name: metricName('redis', values.listName.map((name) => name.text).join(',')),
      target: values.listLength,
    }),
    question({
      listName,
      processingListName = [],
      exclude = [],
      operation,
      requireMatch,
      staleAfter: staleAfterMs,
      address,
    }): KeysQuestion {
      const names = excepting(listName, exclude);
      const processing = excepting(processingListName, exclude);
      const notes = addressNotes({ address });
      const subject = names.map((name) => name.text).join(',');
      const key = fingerprint('keys', { names, processing, operation, requireMatch, staleAfterMs, notes });
      // In one go: of objects that are spread and added to, V8 gives each a layout of its own, as large as the object.
      return { kind: 'keys', key, subject, names, processing, operation, requireMatch, staleAfterMs, notes };
    },
    decide:
      ({ activationListLength, inProgress = 'count' }) =>
      (reading) =>
        decideLists(reading, activationListLength, inProgress),
    backlog: ({ length, processing }: Measures) => ({ waiting: length, held: processing }),
  });
}

/** Waiting and held messages together; active above the threshold, and always while a worker holds one: unless told otherwise. */
function decideLists({ measures }: Known<Measures>, activationListLength: number, inProgress: InProgress): Decision {
  const { length, processing } = measures;
  if (length === undefined) throw new QueueError('FIELD_MISSING', 'the reading holds no length');
  const held = processing ?? 0;
  const value = inProgress === 'count' ? length + held : length;
  const busy = inProgress !== 'ignore' && held > 0;
  return {
    value,
    active: busy || value > activationListLength,
    because: [
      processing === undefined || inProgress !== 'count'
        ? `${length} waiting`
        : `${length} waiting + ${held} in progress = ${value}`,
      busy
        ? `active: ${held} in progress`
        : `${value > activationListLength ? 'active' : 'inactive'}: ${value} ${value > activationListLength ? '>' : '<='} activationListLength ${activationListLength}`,
    ],
  };
}

export const redis = defineLists('redis', 'standalone', 'Length of a list, set, sorted set or hash on one Redis server.');
export const redisSentinel = defineLists('redis-sentinel', 'sentinel', 'The same on the primary that Redis Sentinel names.');
export const redisCluster = defineLists('redis-cluster', 'cluster', 'The same in a Redis Cluster.');
