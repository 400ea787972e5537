/**
 * Resolves a trigger's `authenticationRef` from Kubernetes objects, wherever these are read from. It must never hand out credentials
 * on a caller's word: the object must exist, the trigger must be one of its own, and what the caller claims of its environment true.
 */
import { LRUCache } from 'lru-cache';
import { TriggerError } from '../errors.ts';
import { readParameters } from './authenticationSources.ts';
import type { Credentials, CredentialSource, TriggerReference } from './credentials.ts';
import { containerOf, environmentOf, valuesReader, type Environment } from './environment.ts';
import { requireHostsAllowed, requireNamespaceAllowed, type EndpointKeys, type Parameter } from './crossNamespaceGuard.ts';
import type { ObjectReader, ReadOptions } from './objectReader.ts';
import type { PodSpec, ScaledJob, ScaledObject, Trigger } from './objects.ts';
import { readScaleTarget, targetReferenceOf } from './scaleTarget.ts';
import { fingerprint } from './secret.ts';
import { candidatesAmong, describeMismatch, type Candidate } from './triggerMatch.ts';
import { createVault } from './vault.ts';

/** KEDA's own default for the namespace that ClusterTriggerAuthentications read from. */
const DEFAULT_CLUSTER_OBJECT_NAMESPACE = 'keda';

export interface ResolverOptions {
  readonly reader: ObjectReader;
  /** The keys by which a trigger of that metadata names hosts; undefined where its scaler is not known. */
  readonly endpointKeysOf: (metadata: Readonly<Record<string, string>>) => EndpointKeys | undefined;
  /** Where a ClusterTriggerAuthentication's Secrets and ConfigMaps are: KEDA's `KEDA_CLUSTER_OBJECT_NAMESPACE`. */
  readonly clusterObjectNamespace?: string;
  /** KEDA's `KEDA_RESTRICT_SECRET_ACCESS`: Secrets are read from that namespace alone, whoever asks. */
  readonly restrictSecretAccess?: boolean;
  /** The folder in which a ClusterTriggerAuthentication's `filePath` lies; without it there are no such files. */
  readonly filePathRoot?: string;
  /** HashiCorp Vault servers that may be given this process's own service account token. */
  readonly vaultAddresses?: readonly string[];
}

/** A refusal that is forgotten costs no more than an older secret. */
const MAX_REFUSED = 50_000;
const NO_PARAMETERS: Credentials = { parameters: {}, version: 'none' };

export function createResolver({
  reader,
  endpointKeysOf,
  clusterObjectNamespace = DEFAULT_CLUSTER_OBJECT_NAMESPACE,
  restrictSecretAccess = false,
  filePathRoot,
  vaultAddresses = [],
}: ResolverOptions): CredentialSource {
  const vault = createVault(vaultAddresses);
  /** References whose credentials a broker has refused since they were last resolved. */
  const refused = new LRUCache<string, true>({ max: MAX_REFUSED });

  /** The scaled object or job, and the pod template of what it scales. */
  async function ownersOf({ namespace, name }: TriggerReference, options: ReadOptions): Promise<Owner[]> {
    const [scaledObject, scaledJob] = await Promise.all([
      reader.get('ScaledObject', namespace, name, options),
      reader.get('ScaledJob', namespace, name, options),
    ]);
    const owners: Owner[] = [];
    if (scaledObject !== undefined) owners.push(ownerOfObject(scaledObject, namespace, options));
    if (scaledJob !== undefined) owners.push(ownerOfJob(scaledJob, namespace));
    return owners;
  }

  function ownerOfObject(object: ScaledObject, namespace: string, options: ReadOptions): Owner {
    const { envSourceContainerName } = object.spec.scaleTargetRef;
    const reference = targetReferenceOf(object);
    const target = `${reference.kind} ${namespace}/${reference.name}`;
    const label = `ScaledObject ${namespace}/${object.metadata.name}`;
    return {
      label,
      target,
      triggers: object.spec.triggers,
      envSourceContainerName,
      async pod() {
        const found = await readScaleTarget(reader, reference, namespace, options);
        if (found === undefined) throw unresolved(`${label}: its scale target ${target} does not exist`);
        if (found.pod === undefined)
          throw unresolved(`${label}: variables are read from spec.template, and its scale target ${target} has no such field`);
        return found.pod;
      },
    };
  }

  function ownerOfJob({ metadata, spec }: ScaledJob, namespace: string): Owner {
    const label = `ScaledJob ${namespace}/${metadata.name}`;
    const { template } = spec.jobTargetRef;
    return {
      label,
      target: label,
      triggers: spec.triggers,
      envSourceContainerName: spec.envSourceContainerName,
      pod: () => Promise.resolve(template.spec),
    };
  }

  async function environmentFor(
    owner: Owner,
    container: string | undefined,
    namespace: string,
    options: ReadOptions,
  ): Promise<Environment> {
    const found = containerOf(await owner.pod(), container, owner.target);
    if (found === undefined) throw unresolved(`${owner.target} has no container to take variables from`);
    const read = valuesReader(reader, namespace, options);
    // As in KEDA: what may not be read is as if it were not set.
    const withheld = restrictSecretAccess && namespace !== clusterObjectNamespace;
    return environmentOf(found, owner.target, async (kind, name) =>
      withheld && kind === 'Secret' ? 'withheld' : read(kind, name),
    );
  }

  /** The one trigger meant; several with the same authentication are as good as one. */
  async function triggerOf(reference: TriggerReference, options: ReadOptions): Promise<Match | undefined> {
    const { namespace, name, metadata } = reference;
    const owners = await ownersOf(reference, options);
    if (owners.length === 0) {
      throw new TriggerError('OBJECT_NOT_FOUND', `no ScaledObject or ScaledJob ${namespace}/${name} exists`);
    }
    const candidates = owners.flatMap((owner) =>
      candidatesAmong(owner.triggers, metadata).map((candidate) => ({ ...candidate, owner })),
    );
    if (candidates.length === 0) {
      const mismatches = owners.map((owner) => `${owner.label}: ${describeMismatch(owner.triggers, metadata)}`);
      throw unmatched(`the metadata sent is of no trigger of ${mismatches.join('; ')}`);
    }
    // Without credentials of ours there is nothing that a false claim could gain.
    if (candidates.every(({ trigger }) => trigger.authenticationRef === undefined)) return undefined;

    const falsehoods: string[] = [];
    const matches: Match[] = [];
    for (const candidate of candidates) {
      const falsehood = await falseClaimOf(candidate, candidate.owner, namespace, options);
      if (falsehood === undefined) matches.push(candidate);
      else falsehoods.push(falsehood);
    }
    const [first] = matches;
    if (first === undefined) throw unmatched(falsehoods.join('; '));
    if (new Set(matches.map(({ trigger }) => authenticationKey(trigger))).size > 1) {
      const indexes = matches.map(({ index }) => index).join(' and ');
      throw unmatched(
        `triggers ${indexes} of ${first.owner.label} have the same metadata but different authentication; make their metadata differ`,
      );
    }
    return first;
  }

  async function falseClaimOf(
    { claims }: Candidate,
    owner: Owner,
    namespace: string,
    options: ReadOptions,
  ): Promise<string | undefined> {
    if (claims.length === 0) return undefined;
    const environment = await environmentFor(owner, owner.envSourceContainerName, namespace, options);
    for (const { key, variable, value } of claims) {
      if ((await environment.get(variable)) !== value) {
        return `${key} of ${owner.label} is not what variable ${variable} of ${owner.target} holds now`;
      }
    }
    return undefined;
  }

  async function parametersOf(
    { trigger, owner }: Match,
    reference: TriggerReference,
    looking: ReadOptions,
    reading: ReadOptions,
  ): Promise<ReadonlyMap<string, Parameter>> {
    const { authenticationRef } = trigger;
    if (authenticationRef === undefined) return new Map();
    const { namespace } = reference;
    const cluster = authenticationRef.kind === 'ClusterTriggerAuthentication';
    const kind = cluster ? 'ClusterTriggerAuthentication' : 'TriggerAuthentication';
    const label = cluster ? `${kind} ${authenticationRef.name}` : `${kind} ${namespace}/${authenticationRef.name}`;
    const authentication = await reader.get(kind, namespace, authenticationRef.name, looking);
    if (authentication === undefined) throw unresolved(`${label}, which ${owner.label} names, does not exist`);

    const origin = { label, annotations: cluster ? (authentication.metadata.annotations ?? {}) : {} };
    requireNamespaceAllowed(origin, namespace);
    const sourceNamespace = cluster ? clusterObjectNamespace : namespace;
    const parameters = await readParameters(authentication.spec, {
      label,
      namespace: sourceNamespace,
      secretNamespace: restrictSecretAccess ? clusterObjectNamespace : sourceNamespace,
      triggerNamespace: namespace,
      trusted: cluster,
      vault,
      filePathRoot: cluster ? filePathRoot : undefined,
      reader,
      environment: (container) => environmentFor(owner, container, namespace, reading),
      options: reading,
    });
    requireHostsAllowed(origin, parameters, reference.metadata, endpointKeysOf(reference.metadata));
    return parameters;
  }

  /** `looking` is for the objects that lead to the credentials, `reading` for what holds them. */
  async function resolveWith(reference: TriggerReference, looking: ReadOptions, reading: ReadOptions): Promise<Credentials> {
    const match = await triggerOf(reference, looking);
    if (match === undefined) return NO_PARAMETERS;
    const parameters = await parametersOf(match, reference, looking, reading);
    const entries = [...parameters].map(([name, { value }]) => [name, value] as const).sort(([a], [b]) => (a < b ? -1 : 1));
    return { parameters: Object.fromEntries(entries), version: fingerprint(...entries.flat()) };
  }

  return {
    available: true,

    async resolve(reference, signal) {
      const remembered: ReadOptions = { signal };
      const anew: ReadOptions = { signal, maxAgeMs: 0 };
      try {
        return await resolveWith(reference, remembered, refused.delete(referenceKey(reference)) ? anew : remembered);
      } catch (thrown) {
        if (!(thrown instanceof TriggerError) || thrown.spec.retry !== 'objects') throw thrown;
        // What is remembered may be older than what the caller speaks of.
        return await resolveWith(reference, anew, anew).catch((again: unknown) => {
          throw again instanceof TriggerError && again.code === 'AUTHENTICATION_UNRESOLVED' ? thrown : again;
        });
      }
    },

    refused(reference) {
      refused.set(referenceKey(reference), true);
    },

    watches: () => reader.watches?.() ?? [],

    ...(reader.events === undefined ? {} : { events: reader.events }),

    close: () => reader.close(),
  };
}

interface Owner {
  /** As errors name it: `ScaledObject shop/orders`. */
  readonly label: string;
  /** What holds the pod template, as errors name it. */
  readonly target: string;
  readonly triggers: readonly Trigger[];
  readonly envSourceContainerName: string | undefined;
  pod(): Promise<PodSpec>;
}

type Match = Candidate & { readonly owner: Owner };

function authenticationKey({ authenticationRef }: Trigger): string {
  if (authenticationRef === undefined) return '';
  return `${authenticationRef.kind === 'ClusterTriggerAuthentication' ? 'cluster' : 'namespace'}/${authenticationRef.name}`;
}

function referenceKey({ namespace, name, metadata }: TriggerReference): string {
  return fingerprint(
    namespace,
    name,
    ...Object.entries(metadata)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flat(),
  );
}

function unresolved(message: string): TriggerError {
  return new TriggerError('AUTHENTICATION_UNRESOLVED', message);
}

function unmatched(message: string): TriggerError {
  return new TriggerError('TRIGGER_UNMATCHED', message);
}
