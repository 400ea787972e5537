/**
 * Key names as a trigger gives them: one, several, or patterns in the glob style of `SCAN … MATCH`.
 */

export interface NamePattern {
  readonly text: string;
  /** Whether the text is a pattern; if not it is the key's very name. */
  readonly glob: boolean;
  /** Names and patterns of keys that the pattern does not stand for although they match it. */
  readonly except?: readonly NamePattern[];
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

/** The names, of which the patterns do not stand for what `except` names. */
export function excepting(names: readonly NamePattern[], except: readonly NamePattern[]): readonly NamePattern[] {
  return except.length === 0 ? names : names.map((name) => (name.glob ? { ...name, except } : name));
}

/** Whether the name is the pattern's, or matches it as `SCAN … MATCH` does. In time of at most their lengths' product. */
export function matches(pattern: NamePattern, name: string): boolean {
  return pattern.glob ? matchesBytes(bytesOf(pattern.text), bytesOf(name)) : pattern.text === name;
}

/** A character for each byte, as the server compares bytes. */
function bytesOf(text: string): string {
  return Buffer.from(text).toString('latin1');
}

function matchesBytes(text: string, name: string): boolean {
  let [at, from] = [0, 0];
  /** Behind the last star, and where the rest of the pattern is tried next. */
  let star: { readonly behind: number; readonly tried: number } | undefined;
  while (from < name.length) {
    if (text[at] === '*') {
      star = { behind: at + 1, tried: from };
      at++;
      continue;
    }
    const next = at < text.length ? takes(text, at, name[from] ?? '') : undefined;
    if (next !== undefined) [at, from] = [next, from + 1];
    else if (star === undefined) return false;
    else {
      star = { behind: star.behind, tried: star.tried + 1 };
      [at, from] = [star.behind, star.tried];
    }
  }
  while (text[at] === '*') at++;
  return at === text.length;
}

/** The place behind the part of the pattern at `at`, which is no star, if that takes the character. */
function takes(text: string, at: number, character: string): number | undefined {
  if (text[at] === '?') return at + 1;
  if (text[at] === '\\' && at + 1 < text.length) return text[at + 1] === character ? at + 2 : undefined;
  if (text[at] !== '[') return text[at] === character ? at + 1 : undefined;
  const negated = text[at + 1] === '^';
  let place = at + (negated ? 2 : 1);
  let within = false;
  for (; place < text.length && text[place] !== ']'; place++) {
    if (text[place] === '\\' && place + 1 < text.length) {
      place++;
      within ||= text[place] === character;
    } else if (text[place + 1] === '-' && place + 2 < text.length) {
      const [low = '', high = ''] = [text[place], text[place + 2]].sort();
      within ||= low <= character && character <= high;
      place += 2;
    } else within ||= text[place] === character;
  }
  // A class that is never closed ends with the pattern.
  return within === negated ? undefined : Math.min(place + 1, text.length);
}
