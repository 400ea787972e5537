/**
 * Where hosted brokers serve the management API: at 443, as nothing of theirs listens at 15672 or 15671.
 *
 * Known by name, because trying 443 everywhere would hand the login to whatever else has that port on a broker's host.
 */
import { DEFAULT_PORT, type Endpoint } from './address.ts';

/** Host names of CloudAMQP, and of Amazon MQ with its two domains. */
const HOSTED = [/\.cloudamqp\.com$/, /\.mq\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|on\.aws)$/];

/** The management API that belongs to an AMQP endpoint when nobody has said where it is. */
export function managementBeside({ scheme, host }: Endpoint): Endpoint {
  if (HOSTED.some((domain) => domain.test(host))) return { scheme: 'https', host, port: 443, path: '' };
  const web = scheme === 'amqps' ? 'https' : 'http';
  return { scheme: web, host, port: DEFAULT_PORT[web], path: '' };
}
