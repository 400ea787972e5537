/**
 * KEDA's own RabbitMQ and Redis triggers, checked as KEDA 2.20 reads them: it ignores what it does not know, so here a misspelt key
 * is all the more a fault. https://keda.sh/docs/latest/scalers/
 */
import { BOOLEAN, FROM_ENV, isTrue } from '../../keda.ts';
import { nearestName } from '../../scalers/metadata.ts';
import { authenticationOf } from './authentication.ts';
import { otherNameOfKey } from './otherNames.ts';
import { BUILT_IN, type Keys } from './builtInKeys.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';
import { didYouMean } from './structure.ts';

/** Keys that KEDA reads of every trigger, whatever its type. */
const COMMON_KEYS: ReadonlySet<string> = new Set(['triggerIndex']);
const RATE_MODES: ReadonlySet<string> = new Set([
  'MessageRate',
  'DeliverGetRate',
  'PublishedToDeliveredRatio',
  'ExpectedQueueConsumptionTime',
]);

/** Whether a name may stand in metadata. */
function readsFromMetadata(keys: Keys, name: string): boolean {
  if (Object.hasOwn(keys, name)) return keys[name]?.includes('M') === true;
  return name.endsWith(FROM_ENV) && keys[name.slice(0, -FROM_ENV.length)]?.includes('E') === true;
}

export function checkBuiltIn(location: TriggerLocation): void {
  const { type, metadata, report, path } = location;
  const keys = BUILT_IN[type];
  if (keys === undefined) return;
  report('built-in-trigger', [...path, 'type'], `KEDA’s own ${type} scaler reads this trigger`, {
    fix: 'queue-scaler convert makes it one of this scaler',
  });
  const names = [
    ...Object.keys(keys).filter((name) => keys[name]?.includes('M')),
    ...Object.keys(keys).flatMap((name) => (keys[name]?.includes('E') === true ? [`${name}${FROM_ENV}`] : [])),
  ];
  for (const name of Object.keys(metadata)) {
    if (readsFromMetadata(keys, name) || COMMON_KEYS.has(name)) continue;
    if (keys[name]?.includes('A') === true) {
      report('unknown-key', keyPath(location, name), `${name} is read from a TriggerAuthentication only; KEDA ignores it here`, {
        part: 'key',
      });
      continue;
    }
    const other = otherNameOfKey(type, name);
    const nearest = other === undefined ? nearestName(name, names) : other.name;
    const hint = other === undefined ? didYouMean(nearest) : `; ${other.advice}`;
    report('unknown-key', keyPath(location, name), `${name} is not a key of KEDA’s ${type} scaler, which ignores it${hint}`, {
      part: 'key',
      fix: nearest,
    });
  }
  const given = authenticationOf(location);
  const has = (name: string): boolean =>
    metadata[name] !== undefined ||
    metadata[`${name}${FROM_ENV}`] !== undefined ||
    given === 'elsewhere' ||
    (typeof given === 'object' && (given.open || given.parameters.has(name)));
  const need = (name: string): void => {
    if (!has(name))
      report('missing-key', keyPath(location, name), `${name} is required by KEDA’s ${type} scaler`, { part: 'key' });
  };
  if (typeof given === 'object') {
    for (const [name] of given.parameters) {
      if (keys[name]?.includes('A') === true) continue;
      const nearest = nearestName(
        name,
        Object.keys(keys).filter((key) => keys[key]?.includes('A')),
      );
      if (nearest !== undefined && nearest !== name)
        report(
          'unknown-parameter',
          [...path, 'authenticationRef', 'name'],
          `the authentication gives ${name}, which KEDA’s ${type} scaler does not read${didYouMean(nearest)}`,
          { fix: nearest },
        );
    }
  }
  if (type === 'rabbitmq') {
    need('queueName');
    need('host');
    checkRabbit(location);
  } else {
    need(type.endsWith('streams') ? 'stream' : 'listName');
    if (!['address', 'addresses'].some(has) && !(['host', 'hosts'].some(has) && ['port', 'ports'].some(has)))
      report('missing-key', keyPath(location, 'address'), `address, or host and port, is required by KEDA’s ${type} scaler`, {
        part: 'key',
      });
    if (type.includes('sentinel') && !has('sentinelMaster'))
      report('missing-key', keyPath(location, 'sentinelMaster'), 'sentinelMaster is required to find the primary', {
        part: 'key',
      });
    checkRedis(location);
  }
}

function checkRabbit(location: TriggerLocation): void {
  const { metadata, report } = location;
  const { mode, value, queueLength, protocol } = metadata;
  const host = metadata['host'] ?? '';
  const amqp = protocol === 'amqp' || (protocol !== 'http' && /^amqps?:/.test(host));
  if (host !== '' && !/^(?:amqps?|https?):\/\//.test(host))
    report('bad-value', keyPath(location, 'host'), 'host must be an amqp://, amqps://, http:// or https:// URL');
  if (protocol !== undefined && !['amqp', 'http', 'auto'].includes(protocol))
    report('bad-value', keyPath(location, 'protocol'), 'protocol must be amqp, http or auto', {
      fix: nearestName(protocol, ['amqp', 'http', 'auto']),
    });
  if (mode !== undefined && mode !== 'QueueLength' && !RATE_MODES.has(mode)) {
    report('bad-value', keyPath(location, 'mode'), `mode must be one of QueueLength, ${[...RATE_MODES].join(', ')}`, {
      fix: nearestName(mode, ['QueueLength', ...RATE_MODES]),
    });
  }
  if (queueLength !== undefined && (mode !== undefined || value !== undefined))
    report(
      'bad-value',
      keyPath(location, 'queueLength'),
      'queueLength together with mode or value is refused; use mode and value',
      {
        part: 'key',
      },
    );
  else if (queueLength !== undefined)
    report('deprecated', keyPath(location, 'queueLength'), 'queueLength is deprecated', {
      part: 'key',
      fix: 'mode: QueueLength and value',
    });
  else if (mode !== undefined && value === undefined)
    report('missing-key', keyPath(location, 'value'), 'value is required with mode', { part: 'key' });
  else if (value !== undefined && mode === undefined)
    report('missing-key', keyPath(location, 'mode'), 'mode is required with value', { part: 'key' });
  for (const key of ['value', 'queueLength', 'activationValue'])
    checkNumber(location, key, key === 'activationValue' ? 0 : Number.MIN_VALUE);
  checkNumber(location, 'pageSize', 1);
  checkBoolean(location, 'useRegex');
  checkBoolean(location, 'excludeUnacknowledged');
  if (amqp && mode !== undefined && RATE_MODES.has(mode))
    report('bad-value', keyPath(location, 'mode'), `mode ${mode} needs the management API: an http(s):// host`);
  if (amqp && isTrue(metadata['useRegex']))
    report('bad-value', keyPath(location, 'useRegex'), 'useRegex needs the management API: an http(s):// host');
  if (amqp && isTrue(metadata['excludeUnacknowledged']))
    report(
      'bad-value',
      keyPath(location, 'excludeUnacknowledged'),
      'excludeUnacknowledged needs the management API: an http(s):// host',
    );
  if (amqp && (mode === undefined || mode === 'QueueLength')) {
    report(
      'built-in-risk',
      keyPath(location, metadata['host'] === undefined ? 'protocol' : 'host'),
      'over AMQP KEDA counts ready messages only: a worker that holds the last message can be stopped',
      {
        fix: 'queue-scaler convert: this scaler counts unacknowledged messages too',
      },
    );
  }
  const { operation } = metadata;
  if (operation !== undefined && !['sum', 'avg', 'max'].includes(operation))
    report(
      'bad-value',
      keyPath(location, 'operation'),
      'operation must be one of sum, avg, max; KEDA tells it only once a queue matches',
      { fix: nearestName(operation, ['sum', 'avg', 'max']) },
    );
  if (operation === 'avg' && isTrue(metadata['useRegex']))
    report(
      'built-in-risk',
      keyPath(location, 'operation'),
      'KEDA divides whole numbers: 3 messages in 4 queues are 0, and scale to zero',
    );
  if (mode === 'ExpectedQueueConsumptionTime')
    report('built-in-risk', keyPath(location, 'mode'), 'up to KEDA 2.20 an empty idle queue is active for ever in this mode');
  if (isTrue(metadata['useRegex']))
    report(
      'built-in-risk',
      keyPath(location, 'useRegex'),
      'for KEDA an expression that matches no queue is 0 messages, and more than one page of queues an error',
    );
}

function checkRedis(location: TriggerLocation): void {
  const { type, metadata, report } = location;
  for (const key of ['listLength', 'pendingEntriesCount', 'streamLength', 'lagCount']) checkNumber(location, key, 1, true);
  for (const key of ['activationListLength', 'activationLagCount', 'databaseIndex']) checkNumber(location, key, 0, true);
  checkBoolean(location, 'enableTLS');
  for (const key of ['address', 'addresses']) {
    const address = metadata[key];
    if (address === undefined) continue;
    if (address.includes('://'))
      report('bad-value', keyPath(location, key), `${key} must be host:port: KEDA takes no redis:// URLs`, {
        fix: 'address, username, password, enableTLS',
      });
    else if (!address.split(',').every((word) => /:\d+$/.test(word.trim())))
      report('bad-value', keyPath(location, key), `${key} must be host:port`, { fix: `${address.trim()}:6379` });
  }
  if (type.endsWith('streams')) {
    if (metadata['consumerGroup'] === undefined)
      report(
        'stream-never-empty',
        keyPath(location, 'stream'),
        'without consumerGroup the length of the stream counts, which acknowledging does not lower',
        { part: 'key' },
      );
    else if (metadata['lagCount'] === undefined)
      report(
        'stream-cannot-wake',
        keyPath(location, 'consumerGroup'),
        'KEDA then counts pending entries, and none is pending while no consumer runs',
        { part: 'key', fix: 'lagCount' },
      );
  }
}

function checkNumber(location: TriggerLocation, key: string, least: number, whole = false): void {
  const text = location.metadata[key]?.trim();
  if (text === undefined || text === '') return;
  const value = /^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || value < least || (whole && !Number.isInteger(value)))
    location.report(
      'bad-value',
      keyPath(location, key),
      `${key} must be a ${whole ? 'whole ' : ''}number ${least >= 1 ? `of at least ${least}` : least === 0 ? 'of at least 0' : 'above 0'}`,
    );
}

function checkBoolean(location: TriggerLocation, key: string): void {
  const text = location.metadata[key]?.trim();
  if (text === undefined || text === '' || BOOLEAN.test(text)) return;
  location.report('bad-value', keyPath(location, key), `${key} must be true or false`, { fix: '"true" or "false"' });
}
