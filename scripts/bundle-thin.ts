/**
 * Bundles `thin` in dist/: half of a short command's time is finding, reading and compiling modules
 * (RESULTS.md), and so is half of a server's first seconds. Threads and processes of the server stay as they
 * are: they are started by the names of modules.
 */
import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const compiled = fileURLToPath(new URL('../dist/src', import.meta.url));
/** Parts are as deep as what they are made of: paths relative to a module of src/ stay what they are. */
const parts = 'thin-parts';

rmSync(`${compiled}/${parts}`, { recursive: true, force: true });
await build({
  entryPoints: [`${compiled}/cli/thin.js`],
  outdir: compiled,
  outbase: compiled,
  allowOverwrite: true,
  chunkNames: `${parts}/[name]-[hash]`,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  minify: true,
  keepNames: true, // of errors
  sourcemap: true,
  logLevel: 'warning',
  // What is CommonJS calls this.
  banner: {
    js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);",
  },
  external: ['better-sqlite3', 'fuse-native', '@aws-sdk/*'],
  plugins: [
    {
      name: 'left out',
      setup: ({ onResolve }) => {
        // A third of zod is messages in other languages than ours.
        onResolve({ filter: /^\.\.\/locales\/index\.js$/ }, ({ resolveDir }) =>
          resolveDir.includes('/zod/') ? { path: join(resolveDir, '../locales/en.js') } : undefined,
        );
        // The addon is found from where the module is that loads it.
        onResolve({ filter: /\/native-bindings\/[^/]+\.js$/ }, ({ path }) => ({
          path: `../../native-bindings/${basename(path)}`,
          external: true,
        }));
      },
    },
  ],
});
