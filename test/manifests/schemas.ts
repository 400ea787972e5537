/**
 * Schemas of the Kubernetes objects in `manifests/`, strict in every field: one that is not here is a misspelling, or belongs here.
 * Written from the API reference, https://kubernetes.io/docs/reference/kubernetes-api/, for the fields that the manifests use.
 */
import { z } from 'zod';
import { WRITTEN } from '../../src/auth/objects.ts';

const text = z.string().min(1);
const texts = z.record(z.string(), z.string());
const dnsName = text.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
const quantity = text.regex(/^\d+(\.\d+)?(m|Ki|Mi|Gi)?$/);
const portRef = z.union([z.int().min(1).max(65_535), dnsName]);
const meta = z.strictObject({
  name: dnsName,
  namespace: dnsName.optional(),
  labels: texts.optional(),
  annotations: texts.optional(),
});
const selector = z.strictObject({ matchLabels: texts });
const object = <Kind extends string, Shape extends z.ZodRawShape>(apiVersion: string, kind: Kind, shape: Shape) =>
  z.strictObject({ apiVersion: z.literal(apiVersion), kind: z.literal(kind), metadata: meta, ...shape });

const probe = z.strictObject({
  httpGet: z.strictObject({ path: text, port: portRef }),
  periodSeconds: z.int().optional(),
  timeoutSeconds: z.int().optional(),
  failureThreshold: z.int().optional(),
});
const keyRef = z.strictObject({ name: dnsName, key: text });
const container = z.strictObject({
  name: dnsName,
  image: text,
  command: z.array(text).optional(),
  args: z.array(text).optional(),
  ports: z.array(z.strictObject({ name: text.max(15).optional(), containerPort: z.int() })).optional(),
  env: z
    .array(
      z.strictObject({
        name: text,
        value: z.string().optional(),
        valueFrom: z
          .strictObject({
            secretKeyRef: keyRef.optional(),
            configMapKeyRef: keyRef.optional(),
            fieldRef: z.strictObject({ fieldPath: text }).optional(),
          })
          .optional(),
      }),
    )
    .optional(),
  startupProbe: probe.optional(),
  livenessProbe: probe.optional(),
  readinessProbe: probe.optional(),
  resources: z
    .strictObject({
      requests: z.strictObject({ cpu: quantity, memory: quantity }),
      limits: z.strictObject({ memory: quantity }),
    })
    .optional(),
  securityContext: z
    .strictObject({
      allowPrivilegeEscalation: z.boolean(),
      readOnlyRootFilesystem: z.boolean(),
      capabilities: z.strictObject({ drop: z.array(text) }),
    })
    .optional(),
  volumeMounts: z.array(z.strictObject({ name: dnsName, mountPath: text, readOnly: z.boolean().optional() })).optional(),
});
const podSpec = z.strictObject({
  serviceAccountName: dnsName.optional(),
  terminationGracePeriodSeconds: z.int().optional(),
  restartPolicy: z.enum(['Always', 'OnFailure', 'Never']).optional(),
  securityContext: z
    .strictObject({
      runAsNonRoot: z.boolean(),
      runAsUser: z.int().min(1),
      runAsGroup: z.int().min(1),
      fsGroup: z.int().min(1),
      seccompProfile: z.strictObject({ type: z.literal('RuntimeDefault') }),
    })
    .optional(),
  topologySpreadConstraints: z
    .array(
      z.strictObject({
        maxSkew: z.int(),
        topologyKey: text,
        whenUnsatisfiable: z.enum(['ScheduleAnyway', 'DoNotSchedule']),
        labelSelector: selector,
      }),
    )
    .optional(),
  containers: z.array(container).min(1),
  volumes: z
    .array(
      z.strictObject({
        name: dnsName,
        secret: z.strictObject({ secretName: dnsName }).optional(),
        configMap: z.strictObject({ name: dnsName }).optional(),
      }),
    )
    .optional(),
});
const template = z.strictObject({ metadata: z.strictObject({ labels: texts }).optional(), spec: podSpec });
const rule = z.strictObject({
  apiGroups: z.array(z.string()),
  resources: z.array(text),
  verbs: z.array(z.enum(['get', 'list', 'watch', 'create', 'patch'])),
  resourceNames: z.array(dnsName).optional(),
});
const binding = {
  roleRef: z.strictObject({
    apiGroup: z.literal('rbac.authorization.k8s.io'),
    kind: z.enum(['Role', 'ClusterRole']),
    name: dnsName,
  }),
  subjects: z.array(z.strictObject({ kind: z.literal('ServiceAccount'), name: dnsName, namespace: dnsName })),
};
const RBAC = 'rbac.authorization.k8s.io/v1';

export const deployment = object('apps/v1', 'Deployment', {
  spec: z.strictObject({
    replicas: z.int().optional(),
    selector,
    strategy: z.strictObject({ rollingUpdate: z.strictObject({ maxUnavailable: z.int(), maxSurge: z.int() }) }).optional(),
    template,
  }),
});

export const SCHEMAS: readonly z.ZodType[] = [
  deployment,
  object('v1', 'Service', {
    spec: z.strictObject({
      clusterIP: z.literal('None').optional(),
      selector: texts,
      ports: z.array(z.strictObject({ name: text.optional(), port: z.int(), targetPort: portRef.optional() })),
    }),
  }),
  object('v1', 'ServiceAccount', {}),
  object('v1', 'ConfigMap', { data: texts }),
  object('batch/v1', 'Job', { spec: z.strictObject({ template }) }),
  object('policy/v1', 'PodDisruptionBudget', { spec: z.strictObject({ minAvailable: z.int(), selector }) }),
  object('networking.k8s.io/v1', 'NetworkPolicy', {
    spec: z.strictObject({
      podSelector: selector,
      policyTypes: z.array(z.enum(['Ingress', 'Egress'])),
      ingress: z.array(
        z.strictObject({
          ports: z.array(z.strictObject({ port: portRef })),
          from: z.array(z.strictObject({ podSelector: selector.optional(), namespaceSelector: selector.optional() })).optional(),
        }),
      ),
    }),
  }),
  object(RBAC, 'ClusterRole', { rules: z.array(rule) }),
  object(RBAC, 'Role', { rules: z.array(rule) }),
  object(RBAC, 'ClusterRoleBinding', binding),
  object(RBAC, 'RoleBinding', binding),
  object('cert-manager.io/v1', 'Issuer', {
    spec: z.union([
      z.strictObject({ selfSigned: z.strictObject({}) }),
      z.strictObject({ ca: z.strictObject({ secretName: dnsName }) }),
    ]),
  }),
  object('cert-manager.io/v1', 'Certificate', {
    spec: z.strictObject({
      isCA: z.boolean().optional(),
      commonName: text.optional(),
      secretName: dnsName,
      duration: text.optional(),
      dnsNames: z.array(dnsName).optional(),
      usages: z.array(z.enum(['server auth', 'client auth'])).optional(),
      privateKey: z.strictObject({ algorithm: z.literal('ECDSA'), size: z.literal(256) }),
      issuerRef: z.strictObject({ name: dnsName }),
    }),
  }),
  object('monitoring.coreos.com/v1', 'ServiceMonitor', {
    spec: z.strictObject({ selector, endpoints: z.array(z.strictObject({ port: text, path: text, interval: text })) }),
  }),
  object('monitoring.coreos.com/v1', 'PrometheusRule', {
    spec: z.strictObject({
      groups: z.array(
        z.strictObject({
          name: text,
          rules: z.array(z.strictObject({ alert: text, expr: text, for: text.optional(), labels: texts, annotations: texts })),
        }),
      ),
    }),
  }),
  object('rabbitmq.com/v1beta1', 'RabbitmqCluster', { spec: z.strictObject({ replicas: z.int() }) }),
  WRITTEN.ScaledObject,
  WRITTEN.ScaledJob,
  WRITTEN.TriggerAuthentication,
  WRITTEN.ClusterTriggerAuthentication,
];

export const kustomization = z.strictObject({
  apiVersion: z.literal('kustomize.config.k8s.io/v1beta1'),
  kind: z.literal('Kustomization'),
  namespace: dnsName,
  labels: z.array(z.strictObject({ pairs: texts })).optional(),
  resources: z.array(text),
  patches: z.array(z.strictObject({ path: text })).optional(),
  images: z.array(z.strictObject({ name: text, newTag: text })).optional(),
});

/** Faults by the schema of the object's kind; a patch of an overlay is judged by what it names alone. */
export function faultsOf(object: unknown): string[] {
  const { kind, apiVersion } = z.looseObject({ kind: z.string(), apiVersion: z.string() }).parse(object);
  const schema = SCHEMAS.find(
    (each) => each instanceof z.ZodObject && (each.shape as { kind: z.ZodLiteral }).kind.value === kind,
  );
  if (schema === undefined) return [`${kind} ${apiVersion} has no schema`];
  return schema.safeParse(object).error?.issues.map(({ path, message }) => `${kind} ${path.join('.')}: ${message}`) ?? [];
}
