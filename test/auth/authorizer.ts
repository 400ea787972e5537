/**
 * Who may do what at the API server double: RBAC, by rules that a test gives or that stand in ClusterRoles and their bindings.
 */
import { z } from 'zod';
import type { ObjectStore } from './objectStore.ts';

/** One rule of a Role or ClusterRole. */
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[] | undefined;
  /** Of a Role: the one namespace that it holds in. */
  readonly namespace?: string;
}

export interface Attempt {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
}

/** Who asks: `admin` may do everything. */
export type Identity = 'admin' | 'scaler' | { readonly namespace: string; readonly serviceAccount: string };

export function mayDo(attempt: Attempt, rules: readonly Rule[]): boolean {
  const { verb, group, resource, namespace, name } = attempt;
  return rules.some(
    (rule) =>
      rule.apiGroups.includes(group) &&
      rule.resources.includes(resource) &&
      rule.verbs.includes(verb) &&
      (rule.namespace === undefined || rule.namespace === namespace) &&
      (rule.resourceNames === undefined || (name !== undefined && rule.resourceNames.includes(name))),
  );
}

const words = z.array(z.string());
const clusterRole = z.object({
  rules: z.array(z.object({ apiGroups: words, resources: words, verbs: words, resourceNames: words.optional() })),
});
const clusterRoleBinding = z.object({
  roleRef: z.object({ name: z.string() }),
  subjects: z.array(z.object({ name: z.string(), namespace: z.string() })),
});

/** What the ClusterRoleBindings kept in the store give the service account. */
export function boundRules(store: ObjectStore, { namespace, serviceAccount }: Exclude<Identity, string>): Rule[] {
  return store.list('clusterrolebindings', undefined).flatMap((object) => {
    const { roleRef, subjects } = clusterRoleBinding.parse(object);
    if (!subjects.some((subject) => subject.name === serviceAccount && subject.namespace === namespace)) return [];
    const role = store.get('clusterroles', undefined, roleRef.name);
    return role === undefined ? [] : clusterRole.parse(role).rules;
  });
}
