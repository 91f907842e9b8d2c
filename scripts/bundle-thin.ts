/**
 * Bundles `thin` and its threads in dist/: half of a short command's time is finding, reading and compiling
 * modules (RESULTS.md), and so is half of a server's first seconds, and a third of a thread's start.
 * Processes of the server stay as they are: they are started by the names of modules.
 */
import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';

const compiled = fileURLToPath(new URL('../dist/src', import.meta.url));
/** Parts are as deep as what they are made of: paths relative to a module of src/ stay what they are. */
const parts = 'thin-parts';
/** Started by their names, each with all that it imports. */
const threads = [
  'cache/index-worker',
  'fuse/object-worker',
  'fuse/tree-worker',
  'pull/layer-worker',
  'pull/merge-worker',
];

const options: BuildOptions = {
  outdir: compiled,
  outbase: compiled,
  allowOverwrite: true,
  bundle: true,
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
};

rmSync(`${compiled}/${parts}`, { recursive: true, force: true });
await build({
  ...options,
  entryPoints: [`${compiled}/cli/thin.js`],
  chunkNames: `${parts}/[name]-[hash]`,
  splitting: true,
});
await build({ ...options, entryPoints: threads.map((name) => `${compiled}/${name}.js`) });
