/**
 * What a person or a tool was to fill in and has not: `$(NAME)`, `${NAME}`, `{{NAME}}`, `<name>`. Whatever else is wrong with such a text
 * is wrong because of it.
 */
import type { KnownScaler } from '../knownScalers.ts';
import { reportOn, type Finding } from './finding.ts';
import { isRecord, type Path, type YamlObject } from '../../yaml/objects.ts';

/** In angle brackets, but for the named groups of a regular expression. */
const PLACEHOLDER = /\$\([A-Za-z_][\w.-]*\)|\$\{[A-Za-z_][\w.:-]*\}|\{\{[^{}]*\}\}|(?<!\?P?)<[A-Za-z][\w .-]*>/;
/** A password may hold anything: there it is one only as a whole part of a URL or an address. */
const WHOLE_PART = new RegExp(`(?<=^|[:/@,=])(?:${PLACEHOLDER.source})(?=$|[:/@,?&])`);

/** Fields that other programs read, in which such texts may have a meaning. */
const NOT_OURS: ReadonlySet<string> = new Set(['jobTargetRef', 'advanced', 'status', 'annotations', 'labels', 'managedFields']);

/** The first placeholder in the text; in a secret's only one that is sure. */
export function placeholderIn(text: string, isSecret = false): string | undefined {
  return (isSecret ? WHOLE_PART : PLACEHOLDER).exec(text)?.[0];
}

export function checkPlaceholders(object: YamlObject, scalers: readonly KnownScaler[], findings: Finding[]): void {
  const report = reportOn(object, findings);
  /** Queries of other scalers have brackets of their own. */
  const isForeign = (element: unknown, path: Path): boolean => {
    const type = path.at(-1) === 'triggers' && isRecord(element) ? String(element['type']) : 'external';
    return !type.startsWith('external') && scalers.every(({ scaler }) => scaler.type !== type);
  };
  const walk = (value: unknown, path: Path): void => {
    if (typeof value === 'string') {
      const found = placeholderIn(value, /host|address|password|secret|uri|url|token/i.test(String(path.at(-1))));
      if (found !== undefined)
        report('placeholder', path, `${String(path.at(-1))} holds ${found}, which nobody has filled in`, { fix: fixOf(found) });
    } else if (Array.isArray(value)) {
      value.forEach((element, index) => {
        if (!isForeign(element, path)) walk(element, [...path, index]);
      });
    } else if (isRecord(value)) {
      for (const [key, inner] of Object.entries(value)) if (!NOT_OURS.has(key)) walk(inner, [...path, key]);
    }
  };
  walk(object.data, []);
}

function fixOf(placeholder: string): string {
  if (placeholder.startsWith('{{')) return 'render it first: helm template CHART | queue-scaler check -';
  if (placeholder.startsWith('$(')) return 'the value itself: KEDA expands no variables here';
  if (placeholder.startsWith('${')) return 'fill it in first: envsubst < FILE | queue-scaler check -';
  return 'the value itself';
}

/** Without what a placeholder at the same place explains. */
export function withoutConsequences(findings: readonly Finding[]): Finding[] {
  const place = ({ object = '', path = '' }: Finding): string => `${object} ${path}`;
  const unfilled = new Set(findings.filter(({ rule }) => rule === 'placeholder').map(place));
  return findings.filter((finding) => finding.rule === 'placeholder' || !unfilled.has(place(finding)));
}
