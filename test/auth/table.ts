/**
 * A HorizontalPodAutoscaler as the API server's table, which is what `kubectl get hpa` prints.
 *
 * Columns and texts: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables and kubectl's output.
 */
import { z } from 'zod';
import type { KubernetesObject } from './objectStore.ts';

const averageValue = z.object({ averageValue: z.string() });
const autoscaler = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    scaleTargetRef: z.object({ kind: z.string(), name: z.string() }),
    minReplicas: z.number(),
    maxReplicas: z.number(),
    metrics: z.array(z.object({ external: z.object({ target: averageValue }) })),
  }),
  status: z.object({
    currentReplicas: z.number(),
    currentMetrics: z.array(z.object({ external: z.object({ current: averageValue }) })).optional(),
  }),
});

const COLUMNS = ['Name', 'Reference', 'Targets', 'MinPods', 'MaxPods', 'Replicas', 'Age'];

export function hpaTable(object: KubernetesObject): object {
  const { metadata, spec, status } = autoscaler.parse(object);
  const targets = spec.metrics.map(({ external }, index) => {
    const current = status.currentMetrics?.[index]?.external.current.averageValue ?? '<unknown>';
    return `${current}/${external.target.averageValue} (avg)`;
  });
  const { kind, name } = spec.scaleTargetRef;
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    columnDefinitions: COLUMNS.map((column) => ({ name: column, type: 'string' })),
    rows: [
      {
        cells: [
          metadata.name,
          `${kind}/${name}`,
          targets.join(', '),
          String(spec.minReplicas),
          spec.maxReplicas,
          status.currentReplicas,
          '0s',
        ],
      },
    ],
  };
}
