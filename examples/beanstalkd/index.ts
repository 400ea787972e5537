/**
 * The scaler `beanstalkd`: the jobs of one tube.
 */
import { fingerprint } from '../../src/auth/secret.ts';
import { defineScaler, type Decision } from '../../src/scalers/contract.ts';
import { metricName } from '../../src/scalers/metricName.ts';
import { addressText } from '../../src/scalers/net/address.ts';
import { tlsSettings } from '../../src/scalers/net/tls.ts';
import type { Measures } from '../../src/scalers/reading.ts';
import { openClient } from './client.ts';
import { keys, type BeanstalkdValues } from './keys.ts';

export const beanstalkd = defineScaler({
  type: 'beanstalkd',
  doc: 'The jobs of a beanstalkd tube.',
  keys,
  rules: () => undefined,
  spec: ({ tube, value }) => ({ name: metricName('beanstalkd', tube), target: value }),
  bind(values) {
    const connection = {
      endpoints: values.server,
      tls: values.tls === 'enable' ? tlsSettings(values, true) : undefined,
      timeoutMs: values.timeout,
      wakeBudget: values.wakeBudget,
    };
    const broker = {
      key: `beanstalkd-${fingerprint(JSON.stringify(connection))}`,
      label: `beanstalkd://${values.server.map(addressText).join(',')}`,
    };
    return {
      broker,
      question: { key: values.tube, subject: `tube ${values.tube}`, staleAfterMs: values.staleAfter, tube: values.tube },
      decide: ({ measures }) => decide(values, measures),
      open: (events) => openClient(connection, broker, events),
    };
  },
});

/** KEDA's sum; a job that a worker holds keeps the trigger active whatever the activation value. */
function decide({ activationValue, includeDelayed }: BeanstalkdValues, measures: Measures): Decision {
  const { ready = 0, processing = 0, delayed = 0 } = measures;
  const value = ready + processing + (includeDelayed ? delayed : 0);
  const over = value > activationValue;
  return {
    value,
    active: over || processing > 0,
    because: [
      `${ready} jobs ready, ${processing} reserved, ${delayed} delayed${includeDelayed ? '' : ', which do not count'}`,
      `${value} is ${over ? '' : 'not '}above the activation value ${activationValue}`,
      ...(!over && processing > 0 ? ['but workers hold jobs'] : []),
    ],
  };
}
