/**
 * The fields of Kubernetes and KEDA objects that this program reads, as schemas and types. A misspelt field of a KEDA object is a
 * fault in a person's file; an API server has already refused those, and may be newer.
 *
 * Fields and defaults: https://keda.sh/docs/latest/reference/scaledobject-spec/ and its neighbours, CRDs `keda.sh/v1alpha1`.
 */
import { z } from 'zod';

const count = z.int({ error: 'must be a whole number' }).min(0, 'must not be negative');
const name = z.string().min(1, 'must not be empty');
const list = z.array;
const textMap = z.record(z.string(), z.string({ error: 'must be a string: quote it' }));

const meta = z.object({
  name,
  namespace: name.optional(),
  uid: z.string().optional(),
  generation: z.number().optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

/** Pod templates have some hundred fields, of which workers' environment and end are our concern: the rest is passed over. */
const keyReference = z.object({ name, key: name, optional: z.boolean().optional() });
const wholeReference = z.object({ name, optional: z.boolean().optional() });
const environmentVariable = z.object({
  name,
  value: z.string({ error: 'must be a string: quote it' }).optional(),
  valueFrom: z
    .object({
      secretKeyRef: keyReference.optional(),
      configMapKeyRef: keyReference.optional(),
      fieldRef: z.object({ fieldPath: z.string() }).optional(),
      resourceFieldRef: z.object({ resource: z.string() }).optional(),
    })
    .optional(),
});
const container = z.object({
  name,
  image: z.string().optional(),
  command: list(z.string()).optional(),
  args: list(z.string()).optional(),
  workingDir: z.string().optional(),
  env: list(environmentVariable).nullish(),
  envFrom: list(
    z.object({
      prefix: z.string().optional(),
      secretRef: wholeReference.optional(),
      configMapRef: wholeReference.optional(),
    }),
  ).nullish(),
});
const podTemplate = z.object({
  spec: z.object({
    containers: list(container),
    terminationGracePeriodSeconds: count.optional(),
    serviceAccountName: z.string().optional(),
  }),
});

/** An object of that kind with its own fields. */
function named<V extends string, K extends string, S extends z.ZodRawShape>(apiVersion: V, kind: K, fields: S) {
  return z.object({ apiVersion: z.literal(apiVersion), kind: z.literal(kind), metadata: meta, ...fields });
}

/** All kinds, with unknown fields of KEDA's own objects treated as `object` does. */
function schemas(object: typeof z.object) {
  const trigger = object({
    type: name,
    name: z.string().optional(),
    metadata: textMap,
    authenticationRef: object({
      name,
      kind: z.enum(['', 'TriggerAuthentication', 'ClusterTriggerAuthentication']).optional(),
    }).optional(),
    metricType: z.enum(['', 'AverageValue', 'Value', 'Utilization']).optional(),
    useCachedMetrics: z.boolean().optional(),
  });
  const scalingRules = object({
    stabilizationWindowSeconds: count.max(3600).optional(),
    selectPolicy: z.enum(['Max', 'Min', 'Disabled']).optional(),
    policies: list(
      object({ type: z.enum(['Pods', 'Percent']), value: count.min(1), periodSeconds: count.min(1).max(1800) }),
    ).optional(),
    tolerance: z.union([z.string(), z.number()]).optional(),
  });
  const scaledObject = named('keda.sh/v1alpha1', 'ScaledObject', {
    spec: object({
      scaleTargetRef: object({
        name,
        kind: z.string().optional(),
        apiVersion: z.string().optional(),
        envSourceContainerName: z.string().optional(),
      }),
      pollingInterval: count.min(1).optional(),
      initialCooldownPeriod: count.optional(),
      cooldownPeriod: count.optional(),
      idleReplicaCount: count.optional(),
      minReplicaCount: count.optional(),
      maxReplicaCount: count.min(1).optional(),
      fallback: object({
        failureThreshold: count,
        replicas: count,
        behavior: z
          .enum(['', 'static', 'currentReplicas', 'currentReplicasIfHigher', 'currentReplicasIfLower', 'scalingModifiers'])
          .optional(),
      }).optional(),
      advanced: object({
        restoreToOriginalReplicaCount: z.boolean().optional(),
        horizontalPodAutoscalerConfig: object({
          name: z.string().optional(),
          behavior: object({ scaleUp: scalingRules.optional(), scaleDown: scalingRules.optional() }).optional(),
        }).optional(),
        scalingModifiers: object({
          formula: z.string().optional(),
          target: z.string().optional(),
          activationTarget: z.string().optional(),
          metricType: z.enum(['', 'AverageValue', 'Value']).optional(),
        }).optional(),
      }).optional(),
      triggers: list(trigger).min(1, 'must have at least one trigger'),
    }),
  });
  const scaledJob = named('keda.sh/v1alpha1', 'ScaledJob', {
    spec: object({
      jobTargetRef: z.object({ template: podTemplate }),
      pollingInterval: count.min(1).optional(),
      initialCooldownPeriod: count.optional(),
      successfulJobsHistoryLimit: count.optional(),
      failedJobsHistoryLimit: count.optional(),
      envSourceContainerName: z.string().optional(),
      minReplicaCount: count.optional(),
      maxReplicaCount: count.optional(),
      rolloutStrategy: z.string().optional(),
      rollout: z.record(z.string(), z.unknown()).optional(),
      scalingStrategy: object({
        strategy: z.string().optional(),
        customScalingQueueLengthDeduction: z.int({ error: 'must be a whole number' }).optional(),
        customScalingRunningJobPercentage: z.string().optional(),
        pendingPodConditions: list(z.string()).optional(),
        multipleScalersCalculation: z.enum(['', 'max', 'min', 'avg', 'sum']).optional(),
      }).optional(),
      triggers: list(trigger).min(1, 'must have at least one trigger'),
    }),
  });

  const parameterKey = object({ parameter: name, name, key: name });
  const secretKeySelector = object({ valueFrom: object({ secretKeyRef: object({ name, key: name }) }) });
  const authentication = object({
    podIdentity: z.looseObject({ provider: z.string().optional() }).optional(),
    secretTargetRef: list(parameterKey).optional(),
    configMapTargetRef: list(parameterKey).optional(),
    env: list(object({ parameter: name, name, containerName: z.string().optional() })).optional(),
    filePath: z.string().optional(),
    hashiCorpVault: object({
      address: z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' }),
      authentication: z.enum(['token', 'kubernetes']),
      namespace: z.string().optional(),
      role: z.string().optional(),
      mount: z.string().optional(),
      credential: object({
        token: z.string().optional(),
        serviceAccount: z.string().optional(),
        serviceAccountName: z.string().optional(),
      }).optional(),
      secrets: list(
        object({
          parameter: name,
          path: name,
          key: name,
          type: z.enum(['', 'secret', 'secretV2', 'pki']).optional(),
          pkiData: z.record(z.string(), z.unknown()).optional(),
        }),
      ),
    }).optional(),
    azureKeyVault: z.looseObject({}).optional(),
    gcpSecretManager: z.looseObject({}).optional(),
    awsSecretManager: z.looseObject({}).optional(),
    boundServiceAccountToken: list(object({ parameter: name, serviceAccountName: name })).optional(),
    oauth2: object({
      type: z.string().optional(),
      clientId: z.string(),
      clientSecret: secretKeySelector,
      tokenUrl: z.string(),
      scopes: list(z.string()).optional(),
      tokenUrlParams: z.record(z.string(), z.string()).optional(),
    }).optional(),
  });

  const workload = z.object({ replicas: count.optional(), template: podTemplate });
  return {
    ScaledObject: scaledObject,
    ScaledJob: scaledJob,
    TriggerAuthentication: named('keda.sh/v1alpha1', 'TriggerAuthentication', {
      spec: authentication,
    }),
    ClusterTriggerAuthentication: named('keda.sh/v1alpha1', 'ClusterTriggerAuthentication', {
      spec: authentication,
    }),
    Deployment: named('apps/v1', 'Deployment', {
      spec: workload,
    }),
    StatefulSet: named('apps/v1', 'StatefulSet', {
      spec: workload,
    }),
    Secret: named('v1', 'Secret', {
      /** Base64. */
      data: z.record(z.string(), z.base64('must be base64; plain text goes into stringData')).nullish(),
      stringData: textMap.nullish(),
    }),
    ConfigMap: named('v1', 'ConfigMap', {
      data: textMap.nullish(),
    }),
  };
}

/** What can be scaled, of whatever kind, by the fields in which KEDA looks for replicas and a pod template. */
export const SCALE_TARGET = z.object({
  spec: z.object({ replicas: count.optional(), template: podTemplate.optional() }).optional(),
});

/** For objects from an API server: fields that are not read are dropped. */
export const SERVED = schemas(z.object);
/** For objects from a person's file: an unknown field of a KEDA object is a fault. */
export const WRITTEN = schemas(z.strictObject as unknown as typeof z.object);

export type Kind = keyof typeof SERVED;
export type ObjectOf<K extends Kind> = z.output<(typeof SERVED)[K]>;

export type ScaledObject = ObjectOf<'ScaledObject'>;
export type ScaledJob = ObjectOf<'ScaledJob'>;
export type TriggerAuthentication = ObjectOf<'TriggerAuthentication'>;
export type ClusterTriggerAuthentication = ObjectOf<'ClusterTriggerAuthentication'>;
export type AuthenticationSpec = TriggerAuthentication['spec'];
export type Deployment = ObjectOf<'Deployment'>;
export type StatefulSet = ObjectOf<'StatefulSet'>;
export type Trigger = ScaledObject['spec']['triggers'][number];
export type PodSpec = z.output<typeof podTemplate>['spec'];
export type Container = z.output<typeof container>;
export type EnvironmentVariable = z.output<typeof environmentVariable>;
/** `spec.advanced.horizontalPodAutoscalerConfig.behavior`. */
export type Behavior = NonNullable<
  NonNullable<NonNullable<ScaledObject['spec']['advanced']>['horizontalPodAutoscalerConfig']>['behavior']
>;

export const KINDS = Object.keys(SERVED) as Kind[];

/** The apiVersion under which each kind is known. */
export function apiVersionOf(kind: Kind): string {
  return SERVED[kind].shape.apiVersion.value;
}

/** Kinds that have no namespace. */
export const CLUSTER_KINDS: ReadonlySet<Kind> = new Set(['ClusterTriggerAuthentication']);

/** A secret's values by key, decoded; `stringData` overrides `data`, as the API server does it. */
export function secretValues(secret: ObjectOf<'Secret'>): Readonly<Record<string, string>> {
  const decoded = Object.entries(secret.data ?? {}).map(
    ([key, value]) => [key, Buffer.from(value, 'base64').toString()] as const,
  );
  return { ...Object.fromEntries(decoded), ...secret.stringData };
}
