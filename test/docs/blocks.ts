/**
 * What the documentation tells a reader to type, and what it says will be seen: the fenced blocks of its pages, in their order. It
 * must find every command, as one that nobody finds is one that nobody tries.
 */
import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { pages } from '../../docs/generate.ts';

export const ROOT = resolve(import.meta.dirname, '../..');

export interface Command {
  /** Path from the root of the project. */
  readonly page: string;
  readonly line: number;
  /** As it is typed, with the lines of its here-documents. */
  readonly text: string;
  /** Lines that a `text` block right behind the command's own shows; `…` stands for anything. */
  readonly shown: readonly string[];
}

const SHELL = new Set(['sh', 'bash', 'shell', 'console']);
const FENCE = /^(\s*)```(\S*)[^\n]*\n([\s\S]*?)^\1```[ \t]*$/gm;

export function pagePaths(): string[] {
  return ['README.md', 'CONTRIBUTING.md', ...pages().map((page) => relative(ROOT, page))].sort();
}

export function readPage(page: string): string {
  return readFileSync(resolve(ROOT, page), 'utf8');
}

export function commandsOf(page: string, text = readPage(page)): Command[] {
  const commands: Command[] = [];
  let lastEnd = -1;
  for (const { 0: block, 1: indent = '', 2: language = '', 3: body = '', index } of text.matchAll(FENCE)) {
    const lines = body
      .trimEnd()
      .split('\n')
      .map((line) => line.slice(indent.length));
    const between = lastEnd < 0 ? 'x' : text.slice(lastEnd, index).trim();
    lastEnd = -1;
    const firstLine = text.slice(0, index).split('\n').length + 1;
    if (language === 'text' && between === '') {
      const last = commands.at(-1);
      if (last !== undefined) commands[commands.length - 1] = { ...last, shown: lines.filter((line) => line.trim() !== '') };
    } else if (SHELL.has(language)) {
      for (const { text: typed, at } of split(lines)) commands.push({ page, line: firstLine + at, text: typed, shown: [] });
      lastEnd = index + block.length;
    }
  }
  return commands;
}

/** One command a line, save for continued lines, quotes over several lines and here-documents. */
function split(lines: readonly string[]): { readonly text: string; readonly at: number }[] {
  const commands: { text: string; at: number }[] = [];
  for (let at = 0; at < lines.length; at++) {
    const start = at;
    let text = lines[at] ?? '';
    if (text.trim() === '' || text.trimStart().startsWith('#')) continue;
    const end = /<<-?\s*(['"]?)(\w+)\1/.exec(text)?.[2];
    const open = (): boolean => text.endsWith('\\') || (text.match(/(?<!\\)'/g)?.length ?? 0) % 2 === 1;
    while (at + 1 < lines.length && (end === undefined ? open() : lines[at] !== end)) text += `\n${lines[++at] ?? ''}`;
    commands.push({ text: end === undefined ? text.replace(/\s+#\s.*$/, '') : text, at: start });
  }
  return commands;
}
