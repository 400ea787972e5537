/**
 * Decides where a server's credentials come from, and opens it. A server starts without its API server too: metric specs need neither.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { noCredentialSource, type CredentialSource } from './credentials.ts';
import { openKubernetes } from './kubernetes/reader.ts';
import { createResolver, type ResolverOptions } from './resolver.ts';

/** With all objects known before the first call, none has to be asked for one by one. */
const SYNC_WAIT_MS = 8_000;

export interface CredentialSettings {
  readonly kubernetes: 'auto' | 'off';
  readonly clusterObjectNamespace: string;
  readonly restrictSecretAccess: boolean;
  readonly filePathRoot: string | undefined;
  readonly vaultAddresses: readonly string[] | undefined;
}

/** What is told of the opening and of later trouble. */
interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** `auto` means Kubernetes inside a pod and where `KUBECONFIG` is set, and else none. */
export async function createCredentialSource(
  settings: CredentialSettings,
  environment: Readonly<Record<string, string | undefined>>,
  endpointKeysOf: ResolverOptions['endpointKeysOf'],
  log: Log,
): Promise<CredentialSource> {
  const inPod = (environment['KUBERNETES_SERVICE_HOST'] ?? '') !== '';
  if (settings.kubernetes === 'off' || (!inPod && (environment['KUBECONFIG'] ?? '') === '')) {
    log.debug({}, 'credentials come from the triggers’ metadata alone: there is no Kubernetes to look them up in');
    return noCredentialSource;
  }
  const startedAt = performance.now();
  const reader = await openKubernetes({
    events: {
      trouble: (kind, message) => {
        log.warn({ kind, reason: message }, 'Kubernetes objects cannot be watched now');
      },
    },
  });
  const waiting = new AbortController();
  await Promise.race([reader.synced, sleep(SYNC_WAIT_MS, undefined, { signal: waiting.signal }).catch(() => undefined)]);
  waiting.abort();
  const watches = reader.watches();
  const counts = Object.fromEntries(watches.map(({ kind, objects }) => [kind, objects]));
  const fields = { server: reader.server, ms: Math.round(performance.now() - startedAt), objects: counts };
  if (watches.every(({ synced }) => synced)) log.info(fields, 'Kubernetes objects are known');
  else log.warn(fields, 'Kubernetes objects are not all known yet; they are asked for one by one');
  const { clusterObjectNamespace, restrictSecretAccess, filePathRoot, vaultAddresses } = settings;
  return createResolver({
    reader,
    endpointKeysOf,
    clusterObjectNamespace,
    restrictSecretAccess,
    ...(filePathRoot === undefined ? {} : { filePathRoot }),
    ...(vaultAddresses === undefined ? {} : { vaultAddresses }),
  });
}
