/**
 * The scaler `rabbitmq`: from a trigger's keys to its broker, its question and its decision.
 */
import { defineScaler } from '../contract.ts';
import type { InProgress } from '../inProgress.ts';
import { metricName } from '../metricName.ts';
import { tlsSettings } from '../net/tls.ts';
import { ignoredParameters, isUnverified, parseEndpoint, type Endpoint } from './address.ts';
import { isAmqp, labelOf, openReaders, type RabbitConnection } from './broker.ts';
import { createRabbitClient } from './client.ts';
import { decide, type Mode, type Policy } from './decision.ts';
import { managementBeside } from './hosted.ts';
import { DEFAULT_TARGET, keys, type RabbitValues } from './keys.ts';
import { loginOf, oauthOf } from './login.ts';
import { createQuestion, type RabbitQuestion, type Selection, type Measures } from './question.ts';
import { checkRules } from './rules.ts';

export const rabbitmq = defineScaler({
  type: 'rabbitmq',
  doc: 'RabbitMQ queues: classic, quorum and stream, one, a set by regular expression, or a sharded exchange.',
  keys,
  advice: async () => (await import('./advice.ts')).advice,
  rules: checkRules,
  spec: (values) => ({
    name: metricName('rabbitmq', values.shardedExchange ?? values.queueName ?? values.queueNames?.join() ?? ''),
    target: targetOf(values),
  }),
  broker: {
    name: 'rabbitmq',
    label: labelOf,
    open: (connection, broker, events) => createRabbitClient(openReaders(connection, broker, events)),
  },
  connection: connectionOf,
  question: questionOf,
  decide(values, { subject }) {
    const policy: Policy = {
      mode: modeOf(values),
      target: targetOf(values),
      activation: values.activationValue,
      inProgress: inProgressOf(values),
      oneConsumerPerShard: values.shardedExchange !== undefined,
    };
    const ignored = ignoredParameters(values.host);
    return (reading) => {
      const decision = decide(policy, reading.measures, subject);
      return ignored === undefined ? decision : { ...decision, because: [...decision.because, ignored] };
    };
  },
  backlog: ({ ready, messages, unacknowledged }: Measures) => ({ waiting: ready ?? messages, held: unacknowledged }),
});

function modeOf(values: RabbitValues): Mode {
  return values.mode ?? 'QueueLength';
}

function inProgressOf({ inProgress, excludeUnacknowledged }: RabbitValues): InProgress {
  return inProgress ?? (excludeUnacknowledged ? 'ignore' : 'count');
}

function targetOf(values: RabbitValues): number {
  return values.value ?? values.queueLength ?? DEFAULT_TARGET;
}

function questionOf(values: RabbitValues): RabbitQuestion {
  const mode = modeOf(values);
  return createQuestion({
    vhost: values.vhostName ?? values.host.vhost,
    selection: selectionOf(values),
    operation: values.operation,
    needs: mode !== 'QueueLength' ? 'rates' : inProgressOf(values) === 'ignore' ? 'ready' : 'messages',
    missingIsZero: values.onMissingQueue === 'zero',
    confirmZeroMs: values.confirmZero,
    staleAfterMs: values.staleAfter,
    rateWindowMs: values.rateWindow,
    busyForMs: values.busyFor,
    wakeBudget: values.wakeBudget,
  });
}

function selectionOf({ shardedExchange, queueName = '', queueNames, useRegex, exclude }: RabbitValues): Selection {
  if (shardedExchange !== undefined) return { kind: 'shards', exchange: shardedExchange };
  if (queueNames !== undefined) return { kind: 'names', names: [...new Set(queueNames)] };
  return useRegex ? { kind: 'pattern', pattern: queueName, exclude } : { kind: 'queue', name: queueName };
}

function connectionOf(values: RabbitValues): RabbitConnection {
  const endpoints = endpointsOf(values);
  return {
    endpoints,
    login: loginOf(values),
    oauth: oauthOf(values),
    tls: tlsSettings(values, !values.unsafeSsl && !isUnverified(values.host)),
    management: managementEndpointsOf(values, endpoints),
    managementIsOptional: isAmqp(endpoints[0]) && values.management === 'auto',
    prometheus: values.prometheus,
    timeoutMs: values.timeout,
    secrets: [values.password, values.host.password, values.key, values.keyPassword, values.clientSecret].filter(
      (secret) => secret !== undefined,
    ),
  };
}

function endpointsOf(values: RabbitValues): Endpoints {
  const first = values.host.endpoint;
  // With `vhostName` the last segment of an http path is still no part of the sub-path, as in KEDA.
  const more = (values.hosts ?? []).flatMap((text) => {
    const endpoint = parseEndpoint(text, first);
    return typeof endpoint === 'string' ? [] : [endpoint];
  });
  return [first, ...more];
}

type Endpoints = readonly [Endpoint, ...Endpoint[]];

function managementEndpointsOf(values: RabbitValues, [first, ...more]: Endpoints): Endpoints | undefined {
  if (values.management === 'off') return undefined;
  if (values.management !== 'auto') {
    const [given, ...rest] = values.management;
    return given && [given, ...rest];
  }
  const beside = (endpoint: Endpoint): Endpoint => (isAmqp(endpoint) ? managementBeside(endpoint) : endpoint);
  return [beside(first), ...more.map(beside)];
}
