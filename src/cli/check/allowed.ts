/**
 * Findings that the author has looked at and accepts: a comment `# check: allow RULE` on the line, or alone on the line above,
 * suppresses a warning or a note. An error cannot be allowed, as the manifest would not work.
 */
import type { YamlFile } from '../../yaml/objects.ts';
import { RULES, type Finding } from './finding.ts';

const ALLOWANCE = /#\s*check:\s*allow\s+([\w-]+(?:\s*,\s*[\w-]+)*)/;

interface Allowance {
  readonly file: string;
  /** Of the comment. */
  readonly line: number;
  readonly column: number;
  /** Of what it allows. */
  readonly allows: number;
  readonly rule: string;
}

/** Without what is allowed. An allowance that allows nothing is a finding itself: it would hide what may come later. */
export function withoutAllowed(files: readonly YamlFile[], findings: readonly Finding[]): Finding[] {
  const used = new Set<Allowance>();
  const allowances = files.flatMap(allowancesIn);
  const left = findings.filter(({ rule, severity, position }) => {
    const allowance = allowances.find(
      (each) => each.rule === rule && each.file === position.file && each.allows === position.line,
    );
    if (allowance === undefined || severity === 'error') return true;
    used.add(allowance);
    return false;
  });
  const unused = allowances
    .filter((allowance) => !used.has(allowance))
    .map(({ file, line, column, rule }): Finding => ({
      rule: 'allowance-unused',
      severity: RULES['allowance-unused'].severity,
      position: { file, line, column },
      message: Object.hasOwn(RULES, rule) ? `no warning ${rule} is here to be allowed` : `no rule is called ${rule}`,
      fix: 'take the comment away',
    }));
  return [...left, ...unused];
}

function allowancesIn({ file, text }: YamlFile): Allowance[] {
  return text.split('\n').flatMap((content, index) => {
    const found = ALLOWANCE.exec(content);
    if (found === null) return [];
    const alone = content.trimStart().startsWith('#');
    const line = index + 1;
    return (found[1] ?? '')
      .split(',')
      .map((rule) => ({ file, line, column: found.index + 1, allows: alone ? line + 1 : line, rule: rule.trim() }));
  });
}
