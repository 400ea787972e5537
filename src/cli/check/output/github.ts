/**
 * Findings as annotations of a pull request:
 * https://docs.github.com/actions/reference/workflow-commands-for-github-actions
 */
import type { CheckResult } from '../check.ts';

const COMMANDS = { error: 'error', warning: 'warning', note: 'notice' } as const;

export function asGithub({ findings }: CheckResult): string {
  return findings
    .map(({ position: { file, line, column }, severity, rule, message, fix }) => {
      const text = fix === undefined ? message : `${message}\nfix: ${fix}`;
      const properties = { file, line, col: column, title: rule };
      const list = Object.entries(properties).map(([name, value]) => `${name}=${escapeProperty(String(value))}`);
      return `::${COMMANDS[severity]} ${list.join(',')}::${escapeData(text)}\n`;
    })
    .join('');
}

function escapeData(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
