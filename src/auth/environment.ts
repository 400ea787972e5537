/**
 * The environment that a pod template gives a container, as KEDA computes it for `…FromEnv` keys and `env` authentication. Only the
 * Secrets and ConfigMaps that the wanted variable depends on are read.
 *
 * Order (KEDA's `ResolveContainerEnv`): envFrom in order, then env in order, later names override; `$(VAR)` sees what stands before it.
 */
import { TriggerError } from '../errors.ts';
import type { ObjectReader, ReadOptions } from './objectReader.ts';
import { secretValues, type Container, type EnvironmentVariable, type PodSpec } from './objects.ts';

/** Values by key of the Secret or ConfigMap of that name in the pod's namespace; undefined where it does not exist. */
export type ReadValues = (
  kind: 'Secret' | 'ConfigMap',
  name: string,
) => Promise<Readonly<Record<string, string>> | 'withheld' | undefined>;

export function valuesReader(reader: ObjectReader, namespace: string, options: ReadOptions): ReadValues {
  return async (kind, name) => {
    const found = await reader.get(kind, namespace, name, options);
    return found && (found.kind === 'Secret' ? secretValues(found) : (found.data ?? {}));
  };
}

export interface Environment {
  /** The variable's value; undefined where the template sets none. Rejects with a {@link TriggerError} where a source is missing. */
  readonly get: (variable: string) => Promise<string | undefined>;
  /** All variables; for whoever starts the container. */
  readonly all: () => Promise<Readonly<Record<string, string>>>;
}

/** The container of that name, or the first; init containers are not looked at. Throws a {@link TriggerError} where it is missing. */
export function containerOf(pod: PodSpec, name: string | undefined, target: string): Container | undefined {
  if (name === undefined || name === '') return pod.containers[0];
  const container = pod.containers.find((each) => each.name === name);
  if (container !== undefined) return container;
  const names = pod.containers.map((each) => each.name).join(', ');
  throw new TriggerError('AUTHENTICATION_UNRESOLVED', `${target} has no container ${name}; it has ${names}`);
}

/** `target` names the workload in errors, as `Deployment shop/orders`. */
export function environmentOf(container: Container, target: string, read: ReadValues): Environment {
  const variables = container.env ?? [];
  const wholes = container.envFrom ?? [];
  const place = `container ${container.name} of ${target}`;

  /** The value of `name` as it stands before the variable at `before`. */
  async function valueBefore(name: string, before: number): Promise<string | undefined> {
    for (let index = before - 1; index >= 0; index--) {
      const variable = variables[index];
      if (variable?.name !== name) continue;
      const value = await valueAt(variable, index);
      if (value !== undefined) return value;
    }
    for (const whole of [...wholes].reverse()) {
      const prefix = whole.prefix ?? '';
      if (!name.startsWith(prefix)) continue;
      for (const source of sourcesOf(whole)) {
        const values = await valuesOf(source);
        const key = name.slice(prefix.length);
        if (values !== undefined && Object.hasOwn(values, key)) return values[key];
      }
    }
    return undefined;
  }

  /** Undefined where the variable adds nothing: a pod's own field, or an optional source that is missing. */
  async function valueAt(variable: EnvironmentVariable, index: number): Promise<string | undefined> {
    const { valueFrom } = variable;
    if (valueFrom === undefined) return expand(variable.value ?? '', (name) => valueBefore(name, index));
    const reference = valueFrom.secretKeyRef ?? valueFrom.configMapKeyRef;
    if (reference === undefined) return undefined;
    const kind = valueFrom.secretKeyRef === undefined ? 'ConfigMap' : 'Secret';
    const values = await valuesOf({ kind, name: reference.name, optional: reference.optional === true });
    if (values === undefined) return undefined;
    const value = Object.hasOwn(values, reference.key) ? values[reference.key] : undefined;
    if (value === undefined && reference.optional !== true) {
      throw unresolved(`variable ${variable.name} of ${place}: ${kind} ${reference.name} has no key ${reference.key}`);
    }
    return value;
  }

  async function valuesOf({ kind, name, optional }: Source): Promise<Readonly<Record<string, string>> | undefined> {
    const values = await read(kind, name);
    if (values === 'withheld') return undefined;
    if (values === undefined && !optional)
      throw unresolved(`${kind} ${name}, which ${place} takes variables from, does not exist`);
    return values;
  }

  return {
    get: (variable) => valueBefore(variable, variables.length),
    async all() {
      const names = new Set(variables.map((variable) => variable.name));
      for (const whole of wholes) {
        for (const source of sourcesOf(whole)) {
          for (const key of Object.keys((await valuesOf(source)) ?? {})) names.add(`${whole.prefix ?? ''}${key}`);
        }
      }
      const entries: [string, string][] = [];
      for (const name of names) {
        const value = await valueBefore(name, variables.length);
        if (value !== undefined) entries.push([name, value]);
      }
      return Object.fromEntries(entries);
    },
  };
}

interface Source {
  readonly kind: 'Secret' | 'ConfigMap';
  readonly name: string;
  readonly optional: boolean;
}

function sourcesOf(whole: NonNullable<Container['envFrom']>[number]): Source[] {
  const { secretRef, configMapRef } = whole;
  return [
    ...(secretRef === undefined
      ? []
      : [{ kind: 'Secret' as const, name: secretRef.name, optional: secretRef.optional === true }]),
    ...(configMapRef === undefined
      ? []
      : [{ kind: 'ConfigMap' as const, name: configMapRef.name, optional: configMapRef.optional === true }]),
  ];
}

/** `$(NAME)` becomes the variable's value, or stays where there is none; `$$` becomes `$`; an unclosed `$(` stays. */
export async function expand(text: string, lookUp: (name: string) => Promise<string | undefined>): Promise<string> {
  let expanded = '';
  let done = 0;
  for (const match of text.matchAll(/\$\$|\$\(([^)]*)\)/g)) {
    const [whole, name] = match;
    // KEDA leaves a `$` among the last three characters alone; the values that it forwards must come out the same.
    if (match.index + 3 >= text.length) break;
    expanded += text.slice(done, match.index) + (name === undefined ? '$' : ((await lookUp(name)) ?? whole));
    done = match.index + whole.length;
  }
  return expanded + text.slice(done);
}

function unresolved(message: string): TriggerError {
  return new TriggerError('AUTHENTICATION_UNRESOLVED', message);
}
