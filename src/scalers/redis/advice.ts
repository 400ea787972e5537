/**
 * What `check` and `convert` know of KEDA's own Redis scalers and of settings of ours that mislead. KEDA 2.20,
 * https://keda.sh/docs/latest/scalers/redis-lists/
 */
import { isTrue } from '../../keda.ts';
import {
  checkBoolean,
  checkInProgress,
  checkNumber,
  inProgressInJob,
  inProgressOf,
  write,
  type Advice,
  type BuiltInKeys,
  type BuiltInTrigger,
  type ExternalTrigger,
  type KeyChange,
  type OtherName,
  type ReportKey,
  type ScaledBy,
} from '../advice.ts';
import { processingNames } from './frameworks.ts';
import type { DeploymentKind } from './keys.ts';

const CONNECTION_KEYS: BuiltInKeys = {
  address: 'MAE',
  addresses: 'MAE',
  host: 'MAE',
  hosts: 'MAE',
  port: 'MAE',
  ports: 'MAE',
  username: 'MAE',
  password: 'MAE',
  unsafeSsl: 'M',
  enableTLS: 'M',
  databaseIndex: 'M',
  tls: 'A',
  Cert: 'A',
  cert: 'A',
  key: 'A',
  keyPassword: 'A',
  ca: 'A',
};
const SENTINEL_KEYS: BuiltInKeys = { sentinelUsername: 'MAE', sentinelPassword: 'MAE', sentinelMaster: 'MAE' };
const LIST_KEYS: BuiltInKeys = { listName: 'M', listLength: 'M', activationListLength: 'M' };
const STREAM_KEYS: BuiltInKeys = {
  stream: 'M',
  consumerGroup: 'M',
  pendingEntriesCount: 'M',
  streamLength: 'M',
  lagCount: 'M',
  activationLagCount: 'M',
};

const OTHER_NAMES: Readonly<Record<string, OtherName>> = {
  url: write('address', ', which takes redis:// and rediss:// URLs'),
  uri: write('address', ', which takes redis:// and rediss:// URLs'),
  server: write('address'),
  list: write('listName'),
  key: write('listName'),
  queue: write('listName'),
  queuename: write('listName'),
  queuelength: write('listLength'),
  value: write('listLength'),
  length: write('listLength'),
  threshold: write('listLength'),
  activationvalue: write('activationListLength'),
  db: write('databaseIndex'),
  database: write('databaseIndex'),
  user: write('username'),
  ssl: write('tls', ': enable, or a rediss:// address'),
  master: write('sentinelMaster'),
  mastername: write('sentinelMaster'),
};
const STREAM_OTHER_NAMES: Readonly<Record<string, OtherName>> = {
  ...OTHER_NAMES,
  streamname: write('stream'),
  group: write('consumerGroup'),
  lag: write('lagCount'),
  pending: write('pendingEntriesCount'),
  activationvalue: write('activationLagCount'),
  listname: write('stream', ', or use the scaler for lists'),
};

function adviceOn(
  kind: DeploymentKind,
  keys: BuiltInKeys,
): Omit<Advice, 'required' | 'otherNames' | 'checkRisks' | 'differences'> {
  return {
    connectionKeys: {
      enableTLS: { advice: 'TLS to Redis is tls: enable' },
      unsafeSsl: { name: 'insecureSkipVerify', advice: 'for Redis write insecureSkipVerify' },
    },
    uncheckedCertificate: 'insecureSkipVerify',
    toExternal,
    toBuiltIn,
    builtInKeys: { ...keys, ...CONNECTION_KEYS, ...(kind === 'sentinel' && SENTINEL_KEYS) },
    checkBuiltIn(trigger, report) {
      checkConnection(kind, trigger, report);
      if ('stream' in keys) checkBuiltInStream(trigger, report);
      else if (hidesWork(trigger.metadata['listName'], trigger))
        report(
          'built-in-risk',
          'listName',
          'KEDA counts waiting messages only: a worker that holds the last one can be stopped',
          {
            fix: 'queue-scaler convert, and processingListName',
          },
        );
    },
  };
}

export function listAdvice(kind: DeploymentKind): Advice {
  return {
    ...adviceOn(kind, LIST_KEYS),
    required: ['listName'],
    page: kind === 'standalone' ? 'redis-lists' : `redis-${kind}-lists`,
    otherNames: OTHER_NAMES,
    checkRisks: checkLists,
    differences: listDifferences,
  };
}

export function streamAdvice(kind: DeploymentKind): Advice {
  return {
    ...adviceOn(kind, STREAM_KEYS),
    required: ['stream'],
    otherNames: STREAM_OTHER_NAMES,
    checkRisks: checkStreams,
    countsInProgress: ({ consumerGroup, lagCount }) => consumerGroup !== undefined && lagCount !== undefined,
    differences: streamDifferences,
  };
}

function checkConnection(kind: DeploymentKind, trigger: BuiltInTrigger, report: ReportKey): void {
  const { type, metadata, has } = trigger;
  if (!['address', 'addresses'].some(has) && !(['host', 'hosts'].some(has) && ['port', 'ports'].some(has)))
    report('missing-key', 'address', `address, or host and port, is required by KEDA’s ${type} scaler`, { part: 'key' });
  if (kind === 'sentinel' && !has('sentinelMaster'))
    report('missing-key', 'sentinelMaster', 'sentinelMaster is required to find the primary', { part: 'key' });
  for (const key of ['listLength', 'pendingEntriesCount', 'streamLength', 'lagCount']) checkNumber(trigger, report, key, 1, true);
  for (const key of ['activationListLength', 'activationLagCount', 'databaseIndex']) checkNumber(trigger, report, key, 0, true);
  checkBoolean(trigger, report, 'enableTLS');
  for (const key of ['address', 'addresses']) {
    const address = metadata[key];
    if (address === undefined) continue;
    if (address.includes('://'))
      report('bad-value', key, `${key} must be host:port: KEDA takes no redis:// URLs`, {
        fix: 'address, username, password, enableTLS',
      });
    else if (!address.split(',').every((word) => /:\d+$/.test(word.trim())))
      report('bad-value', key, `${key} must be host:port`, { fix: `${address.trim()}:6379` });
  }
}

function checkBuiltInStream({ metadata }: BuiltInTrigger, report: ReportKey): void {
  if (metadata['consumerGroup'] === undefined)
    report(
      'stream-never-empty',
      'stream',
      'without consumerGroup the length of the stream counts, which acknowledging does not lower',
      { part: 'key' },
    );
  else if (metadata['lagCount'] === undefined)
    report(
      'stream-cannot-wake',
      'consumerGroup',
      'KEDA then counts pending entries, and none is pending while no consumer runs',
      { part: 'key', fix: 'lagCount' },
    );
}

function checkLists(trigger: ExternalTrigger, report: ReportKey): void {
  const { metadata, value } = trigger;
  const names = metadata['listName'] ?? '';
  if (/(?:^|:)(?:bull|bullmq):/.test(names) && !/:(?:wait|prioritized|paused|active|delayed)/.test(names))
    report('pattern-suspicious', 'listName', 'BullMQ keeps waiting jobs under PREFIX:QUEUE:wait', { fix: `${names}:wait` });
  if (/[*?]/.test(names) && !isTrue(value('requireMatch')))
    report('missing-is-zero', 'listName', 'a pattern that matches no key passes for an empty queue', {
      fix: 'requireMatch: "true"',
    });
  checkActivation(trigger, report, 'activationListLength', 'messages');
  if (value('processingListName') !== undefined) checkInProgress(trigger, report, inProgressOf(trigger));
  else if (hidesWork(names, trigger))
    report(
      'busy-unseen',
      'listName',
      'nothing tells what workers hold: a job that is longer than the cooldown may lose its worker',
      {
        fix: processingFix(names),
      },
    );
}

/** Whether a worker may be stopped over what it holds, as that lies under none of the keys. */
function hidesWork(listName = '', { stopsWorkers }: ScaledBy): boolean {
  return stopsWorkers && processingNames(listName) !== '';
}

function processingFix(names: string): string {
  const processing = processingNames(names);
  if (processing !== undefined) return `processingListName: ${processing}`;
  return 'processingListName, or a cooldownPeriod that is longer than the longest job';
}

function listDifferences({ listName = '' }: Readonly<Record<string, string>>, by: ScaledBy): string[] {
  const script = 'no script runs in Redis: TYPE and the length’s own command are asked for in a pipeline';
  if (!hidesWork(listName, by)) return [script];
  const advice = `nothing tells what workers hold, so a long job may lose its worker, as before; mend it by ${processingFix(listName)}`;
  return [script, advice];
}

function checkStreams(trigger: ExternalTrigger, report: ReportKey): void {
  const { value } = trigger;
  if (trigger.metadata['consumerGroup'] === undefined)
    report('stream-never-empty', 'stream', 'without consumerGroup the length counts, which acknowledging does not lower', {
      part: 'key',
      fix: 'consumerGroup',
    });
  else if (value('lagCount') !== undefined) checkInProgress(trigger, report, inProgressOf(trigger));
  else if (trigger.jobCount !== undefined)
    report(
      'stream-cannot-wake',
      'consumerGroup',
      'KEDA makes jobs of the value, which is the pending entries: none as long as no consumer has read one',
      { part: 'key', fix: 'lagCount in place of pendingEntriesCount' },
    );
  checkActivation(trigger, report, 'activationLagCount', 'entries');
}

function checkActivation(
  { value, scalesToZero, hasFormula }: ExternalTrigger,
  report: ReportKey,
  key: string,
  what: string,
): void {
  const activation = Number(value(key) ?? 0);
  if (scalesToZero && !hasFormula && activation > 0)
    report('activation-high', key, `up to ${activation} ${what} wait for ever while there is no worker`, { fix: '"0"' });
}

function streamDifferences({ consumerGroup, lagCount }: Readonly<Record<string, string>>, by: ScaledBy): string[] {
  if (consumerGroup === undefined) return [];
  if (lagCount === undefined) {
    const notPending =
      by.jobCount === undefined
        ? 'undelivered entries wake a worker; KEDA saw none before a consumer ran'
        : 'undelivered entries make no job, as before: KEDA makes jobs of what is pending; give lagCount in place of pendingEntriesCount';
    return [
      notPending,
      'a group that nobody has created has nothing pending, and wakes a worker if there are entries; it was an error',
    ];
  }
  return [
    inProgressInJob(by, 'pending entries') ??
      'both undelivered and pending entries count, so the metric is higher while consumers are busy',
    'where Redis cannot tell the lag it is counted or an error; KEDA took it for 0',
  ];
}

function toExternal(key: string, value: string): KeyChange | undefined {
  if (key === 'enableTLS')
    return {
      key: 'tls',
      value: isTrue(value) ? 'enable' : 'disable',
      why: 'enableTLS is KEDA’s key for the connection to a scaler',
    };
  if (key === 'unsafeSsl') return { key: 'insecureSkipVerify', why: 'unsafeSsl is KEDA’s key for the connection to a scaler' };
  if (key === 'listName' && /[,*?[\\]/.test(value))
    return {
      key,
      value: value.replaceAll(/[,*?[\\]/g, String.raw`\$&`),
      why: 'a list name can be a pattern here: its special characters are escaped',
    };
  return undefined;
}

function toBuiltIn(key: string, value: string): KeyChange | undefined {
  if (key === 'tls')
    return {
      key: 'enableTLS',
      value: value.trim() === 'enable' ? 'true' : 'false',
      why: 'KEDA’s own scaler calls it enableTLS',
    };
  if (key === 'insecureSkipVerify') return { key: 'unsafeSsl', why: 'KEDA’s own scaler calls it unsafeSsl' };
  if (key === 'listName' && value.includes('\\'))
    return { key, value: value.replaceAll(/\\(.)/g, '$1'), why: 'KEDA’s own scaler has no patterns' };
  return undefined;
}
