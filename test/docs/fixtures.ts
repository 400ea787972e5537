/** The files that the pages speak of without showing them. */
const SCALED_OBJECT = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: orders, namespace: shop }
spec:
  scaleTargetRef: { name: worker }
  maxReplicaCount: 4
  cooldownPeriod: 60
  triggers:
`;
const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata: { name: worker, namespace: shop }
spec:
  selector: { matchLabels: { app: worker } }
  template:
    metadata: { labels: { app: worker } }
    spec:
      containers:
        - name: worker
          command: [sh, -c, 'while true; do redis-cli BLPOP orders 1; sleep 0.2; done']
`;
const SECRET = `apiVersion: v1
kind: Secret
metadata: { name: redis, namespace: shop }
stringData: { address: "127.0.0.1:6379" }
`;
const AUTHENTICATION = `apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: { name: redis, namespace: shop }
spec:
  secretTargetRef:
    - { parameter: address, name: redis, key: address }
`;
const BUILT_IN = `${SCALED_OBJECT}    - type: redis
      metadata:
        address: 127.0.0.1:6379
        listName: orders
        listLength: "5"
`;
const OURS = `${SCALED_OBJECT}    - type: external-push
      metadata:
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: redis
        listName: orders
        listLength: "5"
`;
const WITH_AUTHENTICATION = `${OURS}      authenticationRef: { name: redis }\n`;

export interface PageFixture {
  /** Whether its commands are typed in the project's folder. */
  readonly inProject?: boolean;
  readonly files?: Readonly<Record<string, string>>;
  /** Members of the list `orders` when the reader comes to the page. */
  readonly orders?: number;
}

export const FIXTURES: Readonly<Record<string, PageFixture>> = {
  'README.md': { inProject: true, files: { 'scaledobject.yaml': BUILT_IN, 'deployment.yaml': DEPLOYMENT }, orders: 17 },
  'docs/getting-started.md': { inProject: true },
  'docs/local.md': { inProject: true },
  'docs/check.md': {
    files: {
      'scaledobject.yaml': OURS.replace('listName', 'address: redis.shop:6379\n        listName'),
      'deployment.yaml': DEPLOYMENT,
      'manifests/all.yaml': BUILT_IN,
    },
  },
  'docs/read.md': {
    files: {
      'scaledobject.yaml': WITH_AUTHENTICATION,
      'triggerauthentication.yaml': AUTHENTICATION,
      'secret.yaml': SECRET,
      'from-variable.yaml': OURS.replace('listName', 'addressFromEnv: REDIS_URL\n        listName'),
    },
    orders: 17,
  },
  'docs/migrating.md': { files: { 'scaledobject.yaml': BUILT_IN, 'manifests/all.yaml': `${BUILT_IN}---\n${DEPLOYMENT}` } },
};

/** What the page on reading takes from a cluster. */
export const IN_CLUSTER = { authentication: AUTHENTICATION, secret: SECRET, deployment: DEPLOYMENT } as const;
