/**
 * Findings for programs: one object with a list, in the shape of {@link Finding} with the position spread.
 */
import type { CheckResult } from '../check.ts';

export function asJson({ findings, objects, triggers }: CheckResult): string {
  const flat = findings.map(({ position, ...rest }) => ({ ...position, ...rest }));
  return `${JSON.stringify({ objects, triggers, findings: flat }, null, 2)}\n`;
}
