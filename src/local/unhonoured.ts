/**
 * The fields of a manifest that have no effect on one machine, so that they can be reported.
 */

/** `true`: the field, with all below it, is honoured or has nothing to say to one machine (names, labels). */
type Fields = true | { readonly [field: string]: Fields };

const DEPLOYMENT: Fields = {
  apiVersion: true,
  kind: true,
  metadata: true,
  spec: {
    replicas: true,
    selector: true,
    template: {
      metadata: true,
      spec: {
        terminationGracePeriodSeconds: true,
        // Always is the only policy that a Deployment may have.
        restartPolicy: true,
        containers: { 0: { name: true, command: true, args: true, workingDir: true, env: true, envFrom: true } },
      },
    },
  },
};

/** Paths such as `spec.template.spec.containers.0.image`. */
export function unhonouredFields(deployment: unknown): readonly string[] {
  return below(deployment, DEPLOYMENT, '');
}

function below(value: unknown, fields: Fields, path: string): readonly string[] {
  if (fields === true || value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = path === '' ? key : `${path}.${key}`;
    const known = fields[key];
    return known === undefined ? [at] : below(inner, known, at);
  });
}
