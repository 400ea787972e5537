/**
 * The scaler `beanstalkd`: from a trigger's keys to its server, its tube and its decision.
 */
import { fingerprint } from '../../src/auth/secret.ts';
import { defineScaler } from '../../src/scalers/contract.ts';
import { metricName } from '../../src/scalers/metricName.ts';
import { tlsSettings } from '../../src/scalers/net/tls.ts';
import { beanstalkdServer, type Measures } from './client.ts';
import { keys } from './keys.ts';

export const beanstalkd = defineScaler({
  type: 'beanstalkd',
  doc: 'The jobs of a beanstalkd tube.',
  keys,
  rules: () => undefined,
  spec: ({ tube, value }) => ({ name: metricName('beanstalkd', tube), target: value }),
  broker: beanstalkdServer,
  connection: ({ tls, ...values }) => ({
    endpoints: values.server,
    tls: tls === 'enable' ? tlsSettings(values, true) : undefined,
    timeoutMs: values.timeout,
    wakeBudget: values.wakeBudget,
  }),
  question: ({ tube, staleAfter }) => ({
    key: fingerprint(tube, staleAfter),
    subject: `tube ${tube}`,
    staleAfterMs: staleAfter,
    tube,
  }),
  decide:
    ({ activationValue, includeDelayed }) =>
    (reading) => {
      const { ready, reserved, delayed } = reading.measures;
      const value = ready + reserved + (includeDelayed ? delayed : 0);
      const isAbove = value > activationValue;
      const because = [
        `${ready} jobs ready, ${reserved} reserved${includeDelayed ? `, ${delayed} delayed` : ''}`,
        `${value} is ${isAbove ? '' : 'not '}above the activation value ${activationValue}`,
      ];
      if (isAbove || reserved === 0) return { value, active: isAbove, because };
      return { value, active: true, because: [...because, 'but workers hold jobs'] };
    },
  backlog: ({ ready, reserved }: Measures) => ({ waiting: ready, held: reserved }),
});
