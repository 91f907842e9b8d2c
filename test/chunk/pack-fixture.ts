/**
 * The pack of format version 1 in fixtures/chunk/pack-v1. Run this file to make it, which is done once
 * for a version: node --import tsx test/chunk/pack-fixture.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { pseudoRandomBytes, pseudoRandomText } from '../native-bindings/pseudo-random.js';
import { type InputFile, packFiles } from './packed-files.js';

export const fixtureFolder = fileURLToPath(
  new URL('../../fixtures/chunk/pack-v1', import.meta.url),
);

/** What was packed: frames of many files, of one file, stored ones, a hole, repeated contents. */
export const fixtureInputs: readonly InputFile[] = [
  { path: 'etc/empty', pieces: [] },
  ...Array.from({ length: 12 }, (_, i) => ({
    path: `usr/lib/python3/m${i}.py`,
    pieces: [pseudoRandomText(700 + i * 900, i)],
  })),
  { path: 'usr/bin/text', pieces: [pseudoRandomText(150_000, 100)] },
  { path: 'usr/bin/noise', pieces: [pseudoRandomBytes(70_000, 101)] },
  { path: 'usr/share/copy', pieces: [pseudoRandomText(700, 0)] },
  { path: 'var/sparse', pieces: [pseudoRandomText(5000, 102), 600_000, Buffer.from('end')] },
];

const frame = z.object({
  offset: z.number(),
  length: z.number(),
  plainLength: z.number(),
  codec: z.enum(['stored', 'zstd']),
});
const chunk = z.object({
  digest: z.string(),
  length: z.number(),
  frame,
  offsetInFrame: z.number(),
});
export const fixtureList = z.object({
  pack: z.object({ digest: z.string(), size: z.number() }),
  files: z.array(z.object({ content: z.string(), size: z.number(), chunks: z.array(chunk) })),
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(fixtureFolder, { recursive: true });
  const { pack, files } = await packFiles(fixtureInputs, { path: join(fixtureFolder, 'pack') });
  const list = fixtureList.parse({ pack, files });
  writeFileSync(join(fixtureFolder, 'contents.json'), `${JSON.stringify(list, null, 1)}\n`);
}
