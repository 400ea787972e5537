/**
 * Reads the files that a command was given: paths, folders (their `.yaml` and `.yml` files) and `-` for the standard input, if it is given.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { parseObjects, type YamlFile } from './objects.ts';

/** Stands for the standard input where a fault names its file. */
export const STDIN = '<stdin>';

/** A file that cannot be read is a YAML file with one fault. */
export async function readYamlFiles(paths: readonly string[], stdin?: Readable): Promise<YamlFile[]> {
  const files: YamlFile[] = [];
  for (const path of paths) {
    try {
      if (path === '-' && stdin !== undefined) files.push(parseObjects(STDIN, (await buffer(stdin)).toString()));
      else for (const file of await filesAt(path)) files.push(parseObjects(file, await readFile(file, 'utf8')));
    } catch (thrown) {
      const message = thrown instanceof Error ? thrown.message : 'unknown reason';
      const position = { file: path, line: 1, column: 1 };
      files.push({ file: path, text: '', objects: [], faults: [{ position, message: `cannot be read: ${message}` }] });
    }
  }
  return files;
}

async function filesAt(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const entries = await readdir(path);
  return entries
    .filter((entry) => /\.ya?ml$/.test(entry))
    .sort()
    .map((entry) => join(path, entry));
}
