/**
 * The rules between a RabbitMQ trigger's keys. Each fault names the key to mend; where a value may still come from authentication,
 * its rules wait.
 */
import { RE2JS, RE2JSSyntaxException } from 're2js';
import { parseEndpoint } from './address.ts';
import type { RabbitValues } from './keys.ts';

/** AMQP's short string. */
const MAX_NAME_BYTES = 255;

type Fault = (key: string, message: string) => void;

export function checkRules(values: Partial<RabbitValues>, fault: Fault, awaited: ReadonlySet<string>): void {
  const { host, management, protocol = 'auto', username, password, cert, key } = values;
  const isAmqp = host?.endpoint.scheme.startsWith('amqp');

  checkQueue(values, fault);
  checkMode(values, fault);
  if (values.excludeUnacknowledged === true && values.inProgress !== undefined && values.inProgress !== 'ignore') {
    fault('inProgress', `is ${values.inProgress}, but excludeUnacknowledged says ignore; use inProgress alone`);
  }
  if (host !== undefined && protocol !== 'auto' && isAmqp !== (protocol === 'amqp')) {
    fault('protocol', `is ${protocol}, but host begins with ${host.endpoint.scheme}://`);
  }
  if (host !== undefined) {
    for (const text of values.hosts ?? []) {
      const endpoint = parseEndpoint(text, host.endpoint);
      if (typeof endpoint === 'string') fault('hosts', endpoint);
    }
  }
  if (!awaited.has('username') && !awaited.has('password')) {
    checkTogether({ username, password }, 'username and password', fault);
  }
  if (values.tls === 'enable' && host !== undefined && !host.endpoint.scheme.endsWith('s')) {
    fault('tls', `is enable, but host begins with ${host.endpoint.scheme}://, which is not encrypted`);
  }
  checkTogether({ cert, key }, 'certificate and key', fault);
  checkOAuth(values, isAmqp, fault);
  if (values.workloadIdentityResource !== undefined) {
    fault(
      'workloadIdentityResource',
      'is not supported, as this scaler has no identity in Azure; ' +
        'give username and password, a client certificate, or oauthTokenURI, clientID and clientSecret',
    );
  }
  if (management === 'off') checkWithoutManagement(values, isAmqp, fault);
}

/** All of the keys or none; `names` is how the message calls them. Returns whether there are any. */
function checkTogether(given: Readonly<Record<string, unknown>>, names: string, fault: Fault): boolean {
  if (Object.values(given).every((value) => value === undefined)) return false;
  for (const [key, value] of Object.entries(given)) if (value === undefined) fault(key, `is missing: ${names} go together`);
  return true;
}

function checkOAuth(values: Partial<RabbitValues>, isAmqp: boolean | undefined, fault: Fault): void {
  const { oauthTokenURI, clientID, clientSecret } = values;
  const names = 'oauthTokenURI, clientID and clientSecret';
  if (!checkTogether({ oauthTokenURI, clientID, clientSecret }, names, fault)) return;
  if (oauthTokenURI !== undefined && !/^https?:$/.test(URL.canParse(oauthTokenURI) ? new URL(oauthTokenURI).protocol : '')) {
    fault('oauthTokenURI', 'must be an http(s) URL');
  }
  if (isAmqp === true) fault('oauthTokenURI', 'goes with an http(s) host only');
  if (values.username !== undefined || values.host?.user !== undefined) {
    fault('oauthTokenURI', 'and a user with password exclude each other');
  }
}

function checkQueue(values: Partial<RabbitValues>, fault: Fault): void {
  const { queueName, queueNames, shardedExchange, useRegex, exclude } = values;
  const given = Object.entries({ queueName, queueNames, shardedExchange }).flatMap(([key, value]) =>
    value === undefined ? [] : key,
  );
  const [first, ...more] = given;
  if (first === undefined) fault('queueName', 'is required in metadata');
  for (const key of more) fault(key, `and ${first} exclude each other`);
  if (first !== undefined && first !== 'queueName' && useRegex === true)
    fault('useRegex', `goes with queueName, not with ${first}`);
  if (exclude !== undefined && useRegex !== true)
    fault('exclude', 'goes with useRegex: it leaves queues out that queueName matches');
  for (const [key, names] of [
    ['queueName', useRegex === true ? [] : [queueName ?? '']],
    ['queueNames', queueNames ?? []],
  ] as const) {
    if (names.some((name) => Buffer.byteLength(name) > MAX_NAME_BYTES))
      fault(key, `must be at most ${MAX_NAME_BYTES} bytes, as every queue name is`);
  }
  if (useRegex !== true) return;
  for (const [key, pattern] of Object.entries({ queueName, exclude }))
    if (pattern !== undefined) checkPattern(key, pattern, fault);
}

function checkPattern(key: string, pattern: string, fault: Fault): void {
  try {
    RE2JS.compile(pattern);
  } catch (thrown) {
    const why = thrown instanceof RE2JSSyntaxException ? thrown.message : 'no regular expression';
    const instead = /\(\?<?!/.test(pattern) ? '; name what is to be left out by exclude' : '';
    fault(key, `is not a regular expression that runs in linear time: ${why.slice(0, 120)}${instead}`);
  }
}

function checkMode(values: Partial<RabbitValues>, fault: Fault): void {
  const { mode, value, queueLength } = values;
  if (queueLength === undefined) {
    if (mode !== undefined && value === undefined) fault('value', 'is required with mode');
  } else if (mode !== undefined || value !== undefined) fault('queueLength', 'is deprecated; use mode and value alone');
}

function checkWithoutManagement(values: Partial<RabbitValues>, isAmqp: boolean | undefined, fault: Fault): void {
  if (isAmqp === false) fault('management', 'cannot be off with an http host, which is nothing else');
  if (values.useRegex === true) fault('management', 'cannot be off with useRegex: only the management API lists queues');
  if (values.shardedExchange !== undefined) {
    fault('management', 'cannot be off with shardedExchange: only the management API lists shards');
  }
  if (values.mode !== undefined && values.mode !== 'QueueLength') {
    fault('management', `cannot be off in mode ${values.mode}: only the management API has rates`);
  }
}
