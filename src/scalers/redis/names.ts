/**
 * Key names as a trigger gives them: one, several, or patterns in the glob style of `SCAN … MATCH`.
 */

export interface NamePattern {
  readonly text: string;
  /** Whether the text is a pattern; if not it is the key's very name. */
  readonly glob: boolean;
}

/**
 * Reads a comma-separated list of names and patterns. A backslash takes the meaning from a comma, as it does from `*`, `?` and `[`
 * in a pattern; a name with only such escapes is a plain name.
 */
export function parseNames(text: string): readonly NamePattern[] {
  return splitUnescaped(text)
    .map((word) => word.trim())
    .filter((word) => word !== '')
    .map((word) => {
      const commas = word.replaceAll('\\,', ',');
      return /^(?:[^\\*?[]|\\.)*$/s.test(commas)
        ? { text: commas.replaceAll(/\\(.)/gs, '$1'), glob: false }
        : { text: commas, glob: true };
    });
}

function splitUnescaped(text: string): string[] {
  const words = [''];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === ',') words.push('');
    else {
      const taken = text[at] === '\\' ? text.slice(at, at + 2) : (text[at] ?? '');
      words.push((words.pop() ?? '') + taken);
      at += taken.length - 1;
    }
  }
  return words;
}
