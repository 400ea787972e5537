/**
 * The bundle, which is what users run and so what is measured; it must never be an older one than the sources at hand.
 */
import { readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import packageJson from '../../package.json' with { type: 'json' };

const ROOT = join(import.meta.dirname, '../..');

/** What the image starts, without the path of its Node. */
export const [, ...ENTRY_POINT] = JSON.parse(
  /^ENTRYPOINT (.*)$/m.exec(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'))?.[1] ?? '[]',
) as string[];
/** What the image tells Node before the main file. */
export const NODE_FLAGS = ENTRY_POINT.slice(0, -1);

/** Does what `npm run bundle` does, into the folder, and resolves to the main file. Takes a second. */
export async function bundle(folder = join(ROOT, 'dist/bundle')): Promise<string> {
  const banner = /--banner:js=([^"]*)"/.exec(packageJson.scripts.bundle)?.[1] ?? '';
  await build({
    entryPoints: [join(ROOT, 'src/main.ts')],
    bundle: true,
    minifyWhitespace: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    splitting: true,
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    banner: { js: banner },
    logLevel: 'warning',
  });
  await cp(join(ROOT, 'src/server/http/page/assets'), join(folder, 'assets'), { recursive: true });
  return join(folder, 'main.mjs');
}
