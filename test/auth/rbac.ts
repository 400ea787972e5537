/**
 * What RBAC manifests allow the scaler's service account, as rules that the API server double enforces.
 */
import { readFile } from 'node:fs/promises';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import type { Rule } from './apiServer.ts';

export const BASE_RBAC = new URL('../../manifests/base/rbac.yaml', import.meta.url).pathname;
const SERVICE_ACCOUNT = 'keda-queue-scaler';

const names = z.array(z.string());
const role = z.object({
  kind: z.enum(['Role', 'ClusterRole']),
  metadata: z.object({ name: z.string(), namespace: z.string().optional() }),
  rules: z.array(z.strictObject({ apiGroups: names, resources: names, verbs: names, resourceNames: names.optional() })),
});
const binding = z.object({
  kind: z.enum(['RoleBinding', 'ClusterRoleBinding']),
  metadata: z.object({ namespace: z.string().optional() }),
  roleRef: z.object({ kind: z.string(), name: z.string() }),
  subjects: z.array(z.object({ kind: z.literal('ServiceAccount'), name: z.string(), namespace: z.string() })),
});

export async function rulesIn(...files: readonly string[]): Promise<Rule[]> {
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  const documents = texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as unknown));
  const roles = documents.flatMap((document) => role.safeParse(document).data ?? []);
  const bindings = documents.flatMap((document) => binding.safeParse(document).data ?? []);
  return bindings
    .filter(({ subjects }) => subjects.some(({ name }) => name === SERVICE_ACCOUNT))
    .flatMap(({ kind, metadata, roleRef }) =>
      roles
        .filter((each) => each.kind === roleRef.kind && each.metadata.name === roleRef.name)
        .flatMap(({ rules }) =>
          rules.map((rule) => withNamespace(rule, kind === 'RoleBinding' ? metadata.namespace : undefined)),
        ),
    );
}

function withNamespace(rule: z.output<typeof role>['rules'][number], namespace: string | undefined): Rule {
  const { resourceNames, ...rest } = rule;
  return {
    ...rest,
    ...(resourceNames === undefined ? {} : { resourceNames }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}
