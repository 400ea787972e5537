/**
 * Broken manifests with their faults marked where they are. In a `.cases` file `## title` begins a case; a line's `#! rule key -> fix`
 * says what is found on it (`-> fix` only where the fix matters, `|` between several); on a line of its own, `@ word` names the last
 * line above that begins with that key. `%name` lines stand for texts that many cases share.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Expected {
  readonly line: number;
  readonly rule: string;
  /** Last step of the finding's path; absent where the text is no YAML. */
  readonly key?: string;
  readonly fix?: string;
}

export interface Case {
  readonly title: string;
  readonly yaml: string;
  readonly expected: readonly Expected[];
}

const OBJECT = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: orders }
spec:
  scaleTargetRef: { name: orders }
  triggers:`;
const trigger = (type: string): string => `${OBJECT}
    - type: ${type}
      metadata:`;
const push = (scaler: string): string => `${trigger('external-push')}
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: ${scaler}`;

const SHARED: Readonly<Record<string, (word: string) => string>> = {
  trigger,
  push,
  list: () => `    - type: external-push
      metadata:
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: redis
        address: redis.shop:6379
        listName: orders
        processingListName: orders:busy`,
  deployment: () => `apiVersion: apps/v1
kind: Deployment
metadata: { name: orders }
spec:
  template:
    spec:
      containers:
        - name: worker
          image: worker
          env:
            - { name: REDIS_PASSWORD, value: hunter2 }`,
  authentication: () => `apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: { name: redis }
spec:
  secretTargetRef:
    - { parameter: password, name: redis, key: password }`,
};

export function readCases(): Case[] {
  return readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith('.cases'))
    .flatMap((name) => {
      const text = readFileSync(join(import.meta.dirname, name), 'utf8');
      return text
        .split(/^## /m)
        .slice(1)
        .map((part) => parseCase(name.replace(/\.cases$/, ''), part));
    });
}

function parseCase(theme: string, part: string): Case {
  const [title = '', ...written] = part.trimEnd().split('\n');
  const lines = written.flatMap((line) => {
    const [, name, word = ''] = /^%(\w+) ?(.*)$/.exec(line) ?? [];
    if (name === undefined) return [line];
    const shared = SHARED[name];
    if (shared === undefined) throw new Error(`${title}: nothing is called %${name}`);
    return shared(word).split('\n');
  });
  const expected: Expected[] = [];
  for (const [index, line] of lines.entries()) {
    const marker = / ?#! (.*)$/.exec(line);
    if (marker === null) continue;
    for (const mark of (marker[1] ?? '').split(' | ')) {
      const [, rule = '', key, fix, word] = /^(\S+)(?: (?!->|@)(\S+))?(?: -> (.+?))?(?: @ (\S+))?$/.exec(mark) ?? [];
      const at = word === undefined ? index : lines.findLastIndex((text, row) => row < index && startsWith(text, word));
      if (rule === '' || at < 0) throw new Error(`${title}: cannot read the mark ${mark}`);
      expected.push({ line: at + 1, rule, ...(key !== undefined && { key }), ...(fix !== undefined && { fix }) });
    }
  }
  const yaml = lines.map((line) => line.replace(/ ?#! .*$/, '')).join('\n');
  return { title: `${theme}: ${title}`, yaml: `${yaml}\n`, expected };
}

function startsWith(line: string, word: string): boolean {
  const text = line.trimStart();
  return word === '-' ? text.startsWith('- ') : text.replace(/^- /, '').startsWith(`${word}:`);
}
