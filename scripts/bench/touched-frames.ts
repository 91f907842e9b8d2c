import { readFile, stat, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { isDigest } from '../../src/digest.js';
import type { ChunkMap } from '../../src/thin/chunk-map.js';
import type { HotCommand } from '../../src/thin/hot-index.js';
import { runCommand } from '../../test/support/run-command.js';

const script = fileURLToPath(new URL('./touched-pages.py', import.meta.url));

/** Offset and length of what was touched, by the digest of the file. */
export type TouchedRanges = ReadonlyMap<string, readonly (readonly [number, number])[]>;

const touchedSchema = z.record(z.string(), z.array(z.tuple([z.number(), z.number()])));

/**
 * What `program` touches of a tree, page by page: the tree leaves the page cache, the program runs,
 * and what is in the cache then was touched. The kernel reads nothing ahead meanwhile.
 * @param tree a folder that nothing else uses, on a file system of its own
 */
export async function touchedRanges(
  tree: string,
  program: () => Promise<unknown>,
): Promise<TouchedRanges> {
  const { dev } = await stat(tree);
  // The numbers that a device of up to 8 bits each has.
  const readAhead = `/sys/class/bdi/${dev >> 8}:${dev & 0xff}/read_ahead_kb`;
  const before = await readFile(readAhead, 'utf8');
  await writeFile(readAhead, '0');
  try {
    await runCommand('python3', [script, 'drop', tree]);
    await program();
    const { stdout } = await runCommand('python3', [script, 'list', tree]);
    return new Map(Object.entries(touchedSchema.parse(JSON.parse(stdout))));
  } finally {
    await writeFile(readAhead, before);
  }
}

/** The part of a hot pack's plain bytes that is in chunks of which something was touched. */
export function touchedPart(map: ChunkMap, { frames }: HotCommand, touched: TouchedRanges): number {
  let [used, all] = [0, 0];
  for (const { digest, length } of frames.flatMap(({ chunks }) => chunks)) {
    const isTouched = map.placementsOf(digest).some(({ content, offsetInFile: start }) => {
      const ranges = touched.get(content) ?? [];
      return ranges.some(([offset, size]) => offset < start + length && start < offset + size);
    });
    all += length;
    if (isTouched) used += length;
  }
  return used / all;
}

export interface TouchedFrames {
  readonly frames: number;
  /** Compressed bytes of all of them. */
  readonly bytes: number;
}

/** The frames of a thin image that hold what was touched. */
export function touchedFrames(map: ChunkMap, touched: TouchedRanges): TouchedFrames {
  const lengths = new Map<string, number>();
  for (const [content, ranges] of touched) {
    const chunks = isDigest(content) ? map.chunksOf(content) : undefined;
    if (!chunks) throw new Error(`Cannot find file ${content} in the chunk map`);
    let start = 0;
    for (const { frame, length } of chunks) {
      const end = start + length;
      const isTouched = ranges.some(([offset, size]) => offset < end && start < offset + size);
      if (isTouched) lengths.set(`${frame.pack} ${frame.offset}`, frame.length);
      start = end;
    }
  }
  const bytes = [...lengths.values()].reduce((sum, length) => sum + length, 0);
  return { frames: lengths.size, bytes };
}
