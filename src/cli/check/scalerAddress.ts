/**
 * KEDA's own connection to an external scaler: address and TLS, as KEDA dials them.
 */
import { BOOLEAN, isTrue, KEDA_PARAMETERS } from '../../keda.ts';
import { SCALER_KEY } from '../../scalers/metadata.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';

/** The port on which this program serves HTTP by default. */
const HTTP_PORT = '8080';
const GRPC_PORT = '6000';

export function checkScalerAddress(location: TriggerLocation): void {
  checkAddress(location);
  const { metadata, report, scalers } = location;
  for (const key of ['enableTLS', 'unsafeSsl']) {
    const value = metadata[key]?.trim();
    if (value !== undefined && value !== '' && !BOOLEAN.test(value))
      report('bad-value', keyPath(location, key), `${key} must be true or false`, { fix: '"true" or "false"' });
  }
  for (const key of KEDA_PARAMETERS) {
    if (metadata[key] === undefined) continue;
    report(
      'scaler-link',
      keyPath(location, key),
      `KEDA reads ${key} from a TriggerAuthentication only; here it is merely passed on`,
      { part: 'key' },
    );
  }
  const advice = scalers.find(({ scaler }) => scaler.type === metadata[SCALER_KEY]?.trim())?.advice;
  for (const [key, { name, advice: instead }] of Object.entries(advice?.connectionKeys ?? {})) {
    if (!isTrue(metadata[key])) continue;
    report('scaler-link', keyPath(location, key), `${key} is for KEDA’s connection to this scaler; ${instead}`, {
      part: 'key',
      fix: name,
    });
  }
}

function checkAddress(location: TriggerLocation): void {
  const { metadata, report, path } = location;
  if (metadata['scalerAddressFromEnv'] !== undefined) {
    const message = 'KEDA reads scalerAddress itself, never from a variable';
    report('scaler-address', keyPath(location, 'scalerAddressFromEnv'), message, { part: 'key', fix: 'scalerAddress' });
    return;
  }
  const address = metadata['scalerAddress']?.trim() ?? '';
  const at = keyPath(location, 'scalerAddress');
  if (address === '') {
    const message = 'metadata must have scalerAddress, the host:port of this scaler’s gRPC Service';
    const fix = 'scalerAddress: keda-queue-scaler.keda:6000';
    report('scaler-address', [...path, 'metadata'], message, { part: 'key', fix });
    return;
  }
  if (/^(?:https?|grpcs?):\/\//.test(address)) {
    report('scaler-address', at, 'scalerAddress is host:port without a scheme', {
      fix: address.replace(/^\w+:\/\//, '').replace(/\/+$/, ''),
    });
    return;
  }
  if (/^(?:dns|unix|passthrough|ipv4|ipv6|xds):/.test(address)) return;
  const [, host = '', port] = /^(.*?)(?::(\d+))?$/.exec(address) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535 || host === '' || /[\s/]/.test(address)) {
    report('scaler-address', at, 'scalerAddress must be host:port', {
      fix: port === undefined && host !== '' && !/[\s/:]/.test(host) ? `${host}:${GRPC_PORT}` : undefined,
    });
    return;
  }
  if (port === HTTP_PORT)
    report('scaler-address', at, `port ${HTTP_PORT} is this scaler’s HTTP port; gRPC is ${GRPC_PORT}`, {
      fix: `${host}:${GRPC_PORT}`,
      severity: 'warning',
    });
  if (host === 'localhost' || host === '127.0.0.1')
    report('scaler-address', at, 'in a cluster this is KEDA’s own pod; on one machine it is right', { severity: 'note' });
  else if (!host.includes('.'))
    report('scaler-address', at, `${host} without a namespace is looked up in KEDA’s own namespace`, {
      fix: `${host}.NAMESPACE:${port}`,
      severity: 'warning',
    });
}
