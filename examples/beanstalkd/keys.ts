/**
 * The keys of a beanstalkd trigger: KEDA's, with its names and meaning, and those that the floor gives every scaler.
 */
import { z } from 'zod';
import { parseAddress, type Address } from '../../src/scalers/net/address.ts';
import { TLS_KEYS } from '../../src/scalers/net/tls.ts';
import { key, type Values } from '../../src/scalers/metadata.ts';
import { decimal, duration, flag, list, oneOf, text, whole } from '../../src/scalers/values.ts';

const addresses = () =>
  list().transform((words, context) => {
    const [first, ...more] = words.map(parseAddress).filter((address) => address !== undefined);
    if (first !== undefined && more.length + 1 === words.length) return [first, ...more] as [Address, ...Address[]];
    context.addIssue({ code: 'custom', message: 'must be host:port, or several separated by commas' });
    return z.NEVER;
  });

export const keys = {
  server: key('Comma-separated `host:port` of one server; where one address fails, the next is tried.', addresses(), {
    required: true,
  }),
  tube: key('The tube.', text().regex(/^[\w+/;.$()][\w+/;.$()-]{0,199}$/, 'must be a tube’s name'), { required: true }),
  value: key('Target: jobs for each worker.', decimal({ above: 0, max: 1e15 }), { required: true }),
  activationValue: key('The trigger is active above this value.', decimal({ min: 0, max: 1e15 }), { default: '0' }),
  includeDelayed: key('Counts jobs that are not due yet.', flag(), { default: 'false' }),
  timeout: key('Longest wait for a connection or a reply.', duration({ minMs: 1, maxMs: 60_000 }), { default: '3s' }),
  tls: key('Whether to use TLS.', oneOf(['enable', 'disable']), { places: ['metadata', 'authentication'], default: 'disable' }),
  ...TLS_KEYS,
  staleAfter: key('How long the last known reading stands in for one that could not be had.', duration({ maxMs: 600_000 }), {
    default: '15s',
  }),
  wakeBudget: key('Most tubes read a second to notice work, for all sleeping triggers.', whole({ min: 1, max: 100_000 }), {
    default: '1000',
  }),
};

export type BeanstalkdValues = Values<typeof keys>;
