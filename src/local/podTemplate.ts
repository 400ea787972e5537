/**
 * From a Deployment's pod template to a process on this machine: command line, folder and environment.
 */
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import type { Manifest } from '../auth/files.ts';
import { environmentOf, expand, type ReadValues } from '../auth/environment.ts';
import type { PodTemplate } from './workers/pod.ts';

/** https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination */
const DEFAULT_GRACE_SECONDS = 30;

/** What an image would bring along: where programs, the home and temporary files are, and how to write text and time. */
const INHERITED = ['PATH', 'HOME', 'USER', 'TMPDIR', 'LANG', 'LC_ALL', 'TZ'] as const;

/** Stands in resolved texts for the pod's name, which is not known before the pod is; no environment can hold it otherwise. */
const POD_NAME = '\u0000pod name\u0000';

/** The pod's own fields that have a meaning here. */
function fieldValues(namespace: string): ReadonlyMap<string, string> {
  return new Map([
    ['metadata.name', POD_NAME],
    ['metadata.namespace', namespace],
    ['spec.nodeName', hostname()],
    ['status.podIP', '127.0.0.1'],
    ['status.hostIP', '127.0.0.1'],
  ]);
}

export interface PodTemplates {
  /** The first container, as a process. */
  readonly template: (pod: string) => PodTemplate;
  readonly graceMs: number;
  /** Variables that are not set here, because they come from fields that have no meaning on one machine. */
  readonly unset: readonly string[];
}

/** A fault where there is nothing to run; rejects with a `TriggerError` where a variable's source is missing. */
export async function podTemplates(
  deployment: Manifest<'Deployment'>,
  read: ReadValues,
): Promise<PodTemplates | { readonly fault: string }> {
  const { object, namespace, name } = deployment;
  const pod = object.spec.template.spec;
  const container = pod.containers[0];
  if (container === undefined) return { fault: 'has no container' };
  if (container.command === undefined || container.command.length === 0) {
    return { fault: `container ${container.name} has no command: its image is not run here, so the command must be written out` };
  }

  const fields = fieldValues(namespace);
  const unset: string[] = [];
  const env = (container.env ?? []).map((variable) => {
    const source = variable.valueFrom;
    if (source?.fieldRef === undefined && source?.resourceFieldRef === undefined) return variable;
    const value = fields.get(source.fieldRef?.fieldPath ?? '');
    if (value === undefined) unset.push(variable.name);
    return value === undefined ? variable : { name: variable.name, value };
  });
  const variables = await environmentOf({ ...container, env }, `Deployment ${namespace}/${name}`, read).all();
  const binary = Object.keys(variables).find((key) => variables[key]?.replaceAll(POD_NAME, '').includes('\0'));
  if (binary !== undefined) return { fault: `variable ${binary} holds a zero byte, which no environment can` };
  const words = await expandAll([...container.command, ...(container.args ?? [])], variables);
  const graceMs = (pod.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS) * 1000;
  const cwd = resolve(dirname(deployment.positionOf([]).file), container.workingDir ?? '.');
  const inherited = Object.fromEntries(
    INHERITED.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]])),
  );

  return {
    graceMs,
    unset,
    template(podName) {
      const own = (text: string): string => text.replaceAll(POD_NAME, podName);
      const [program = '', ...args] = words.map(own);
      const set = Object.fromEntries(Object.entries(variables).map(([key, value]) => [key, own(value)]));
      return { command: [program, ...args], cwd, graceMs, env: { ...inherited, HOSTNAME: podName, ...set } };
    },
  };
}

function expandAll(words: readonly string[], variables: Readonly<Record<string, string>>): Promise<string[]> {
  return Promise.all(words.map((word) => expand(word, (name) => Promise.resolve(variables[name]))));
}
