/**
 * Findings for a person: one line each as compilers print them, the fix below.
 */
import { styleText } from 'node:util';
import type { CheckResult } from '../check.ts';
import type { Severity } from '../finding.ts';

const COLOURS = { error: 'red', warning: 'yellow', note: 'cyan' } as const satisfies Record<Severity, string>;

export function asText({ findings, objects, triggers }: CheckResult, colour: boolean): string {
  const paint = (style: 'red' | 'yellow' | 'cyan' | 'bold' | 'dim', text: string): string =>
    colour ? styleText(style, text, { validateStream: false }) : text;
  const lines = findings.flatMap(({ position, severity, rule, message, fix }) => [
    `${paint('bold', `${position.file}:${position.line}:${position.column}`)}: ${paint(COLOURS[severity], severity)}: ${message} ${paint('dim', `[${rule}]`)}`,
    ...(fix === undefined ? [] : [`    fix: ${fix}`]),
  ]);
  const count = (severity: Severity): number => findings.filter((finding) => finding.severity === severity).length;
  const looked = `${plural(objects, 'object')} with ${plural(triggers, 'trigger')}`;
  const found = (['error', 'warning', 'note'] as const).map((severity) => plural(count(severity), severity)).join(', ');
  return [...lines, `${looked}: ${findings.length === 0 ? 'no fault found' : found}`, ''].join('\n');
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
