/**
 * The keys of a beanstalkd trigger: KEDA's, with its names and meaning, and those of our own after them.
 */
import { addresses } from '../../src/scalers/net/address.ts';
import { TLS_KEYS } from '../../src/scalers/net/tls.ts';
import { key } from '../../src/scalers/metadata.ts';
import { decimal, duration, flag, oneOf, text, whole } from '../../src/scalers/values.ts';

export const keys = {
  server: key('`host:port` of the server; further addresses of it, after commas, are tried when one fails.', addresses(), {
    required: true,
  }),
  tube: key('The tube.', text().regex(/^[\w+/;.$()][\w+/;.$()-]{0,199}$/, 'must be the name of a tube'), { required: true }),
  value: key('Target of the metric.', decimal({ above: 0, max: 1e15 }), { required: true }),
  activationValue: key('The trigger is active above this value.', decimal({ min: 0, max: 1e15 }), { default: '0' }),
  includeDelayed: key('Counts jobs that are not due yet as well.', flag(), { default: 'false' }),
  timeout: key('Longest wait for a connection, and for a reply.', duration({ minMs: 1, maxMs: 60_000 }), { default: '3s' }),

  tls: key('Whether to use TLS.', oneOf(['enable', 'disable']), { default: 'disable' }),
  ...TLS_KEYS,
  staleAfter: key('How long the last known reading stands in.', duration({ maxMs: 600_000 }), { default: '15s' }),
  wakeBudget: key('Most tubes read a second to notice work.', whole({ min: 1, max: 100_000 }), { default: '1000' }),
};
