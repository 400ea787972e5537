/**
 * Commands of the documentation that no test can run as they stand, each with the reason and with what vouches for it instead. It
 * must stay short: what can run is run.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { VERSIONS } from '../bed/versions/catalogue.ts';
import { ROOT } from './blocks.ts';

export interface Elsewhere {
  readonly command: RegExp;
  readonly reason: string;
  /** Whether what vouches for the command is still there. */
  readonly vouched: () => boolean;
}

const read = (path: string): string => readFileSync(resolve(ROOT, path), 'utf8');
const { scripts } = JSON.parse(read('package.json')) as { readonly scripts: Readonly<Record<string, string>> };
const inCi = (line: string): boolean => read('.ci/run').split('\n').includes(line);
/** The script runs that program, and the test does too. */
const runBy = (script: string, program: string, test: string): boolean =>
  scripts[script]?.includes(program) === true && read(test).includes(program);

export const ELSEWHERE: readonly Elsewhere[] = [
  { command: /^npm ci$/, reason: 'installs anew: the first step of CI', vouched: () => inCi('npm ci --no-audit --no-fund') },
  {
    command: /^npm ci && npm run demo$/,
    reason: 'the demo has its own test, with fewer messages',
    vouched: () => runBy('demo', 'examples/demo/demo.ts', 'test/demo.test.ts'),
  },
  {
    command: /^(?:npm ci && )?npm test$/,
    reason: 'this runs within it; a step of CI',
    vouched: () => inCi('npm test') && scripts['test']?.includes('vitest run') === true,
  },
  { command: /^npm run test:faults$/, reason: 'a step of CI', vouched: () => inCi('npm run test:faults') },
  {
    command: /^npm run test:brokers(?: -- [\w. -]+)?$/,
    reason: 'a step of CI',
    vouched: () => inCi('npm run test:brokers'),
  },
  {
    command: /^(?:npx tsx test\/bed\/versions\/provision\.ts|BROKER=\S+) /,
    reason: 'downloads a broker; test:brokers does the same',
    vouched: () => ['valkey-9', 'rabbitmq-4.0-khepri'].every((name) => VERSIONS.some((version) => version.name === name)),
  },
  {
    command: /^(?:npm run lint && npm run typecheck && )?npm run build$/,
    reason: 'steps of CI',
    vouched: () => ['lint', 'typecheck', 'build'].every((name) => inCi(`npm run ${name}`)),
  },
  {
    command: /^npm run bench$/,
    reason: 'takes minutes and tells the machine’s speed',
    vouched: () => scripts['bench']?.includes('bench/run.ts') === true,
  },
  {
    command: /^(?:KUBECONFIG=\S+ )?npm run e2e /,
    reason: 'wants a cluster; without one it is tested to say so',
    vouched: () => runBy('e2e', 'e2e/run.ts', 'test/auth/e2e.test.ts'),
  },
  {
    command: /^docker build /,
    reason: 'wants a container engine and a registry',
    vouched: () => read('Dockerfile').includes('npm run bundle') && scripts['bundle']?.includes('esbuild') === true,
  },
  {
    command: /^cd manifests\/base && kustomize edit set image /,
    reason: 'wants kustomize; the manifests have their own tests',
    vouched: () => /images:\s+- name: keda-queue-scaler/.test(read('manifests/base/kustomization.yaml')),
  },
  {
    command: /^(?:kubectl|docker|helm|cmctl) /,
    reason: 'wants a cluster or a container engine',
    vouched: () => true,
  },
];
