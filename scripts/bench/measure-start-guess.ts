import { join } from 'node:path';
import { guessHotRanges, type HotRange } from '../../src/hot/static-guess.js';
import { commandLine } from '../../src/mount/container-process.js';
import { pullFiles } from '../../test/hot/pulled-files.js';
import type { Figure, Measurement } from './measurement.js';
import { type StartName, startPrograms } from './start-programs.js';
import { startTouches } from './start-touches.js';
import type { TouchedRanges } from './touched-frames.js';

/** Files are compared in blocks of about the size of a chunk. */
const blockBytes = 65_536;

/** How much of what a start touches is guessed without running it, and how much is guessed in vain. */
export function guessedStart(name: StartName): Measurement {
  return {
    name: `what a start touches, guessed (${name})`,
    open: async (scratch) => ({
      unit: 'bytes',
      contenders: [],
      figures: async () => {
        const { image, words: command, ...over } = startPrograms[name];
        const guessed: HotRange[] = [];
        await using pulled = await pullFiles(image, join(scratch, 'cache'));
        const { Env: env = [], WorkingDir: workdir = '/' } = pulled.config.config ?? {};
        const args = commandLine(pulled.config.config ?? {}, { command, ...over });
        await guessHotRanges(
          pulled.files,
          { args, env, workdir },
          (range) => void guessed.push(range),
        );
        const touched = await startTouches(startPrograms[name], scratch);
        return describe(blocksOf(guessed), blocksOf(flat(touched)));
      },
    }),
  };
}

type Range = Pick<HotRange, 'offset' | 'length'> & { readonly content: string };

function* flat(touched: TouchedRanges): Generator<Range> {
  for (const [content, ranges] of touched) {
    for (const [offset, length] of ranges) yield { content, offset, length };
  }
}

/** Bytes of each block that is touched, which is as many as are fetched for it. */
function blocksOf(ranges: Iterable<Range>): Map<string, number> {
  const blocks = new Map<string, number>();
  for (const { content, offset, length } of ranges) {
    const end = offset + length;
    for (let at = offset - (offset % blockBytes); at < end; at += blockBytes) {
      const name = `${content} ${at}`;
      blocks.set(name, Math.max(blocks.get(name) ?? 0, Math.min(blockBytes, end - at)));
    }
  }
  return blocks;
}

function describe(guessed: Map<string, number>, touched: Map<string, number>): Figure[] {
  const sum = (blocks: Iterable<number>) => [...blocks].reduce((total, bytes) => total + bytes, 0);
  const hit = [...touched].filter(([block]) => guessed.has(block));
  const useful = [...guessed].filter(([block]) => touched.has(block));
  const bytesOf = (blocks: [string, number][]) => sum(blocks.map(([, bytes]) => bytes));
  const [all, wanted] = [sum(guessed.values()), sum(touched.values())];
  return [
    { name: 'touched', unit: 'bytes', value: wanted },
    { name: 'guessed', unit: 'bytes', value: all },
    { name: 'touched that was guessed / touched', unit: '', value: bytesOf(hit) / wanted },
    { name: 'guessed that was touched / guessed', unit: '', value: bytesOf(useful) / all },
  ];
}
