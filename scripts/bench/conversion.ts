import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { runCommand } from '../../test/support/run-command.js';
import { builtProgram } from './thin-node.js';

export interface ConversionOptions {
  /** As on thinify's command line. */
  readonly image: string;
  /** Folder of the conversion index: a new one knows nothing of earlier conversions. */
  readonly cache: string;
  /** Where to, if not beside the original. */
  readonly to?: { readonly store: string; readonly name: string };
}

export interface Conversion {
  readonly milliseconds: number;
  /** Most memory that the process had at once, in bytes. */
  readonly peakMemory: number;
  readonly bytesUploaded: number;
  /** Bytes of packs of the thin image; 0 if it was published before. */
  readonly publishedBytes: number;
  /** Different contents of files in the thin image; 0 if it was published before. */
  readonly files: number;
}

const resultSchema = z.object({
  event: z.literal('result'),
  bytesUploaded: z.number(),
  platforms: z.array(
    z.object({ publishedBytes: z.number().optional(), files: z.number().optional() }),
  ),
});

/** Runs thinify as it is installed, once. */
export async function convert({ image, cache, to }: ConversionOptions): Promise<Conversion> {
  const target = to ? ['--to', to.store, '--name', to.name] : [];
  const program = builtProgram('converter/thinify.js');
  const command = [...(await interpreterOf(program)), program, '--json'];
  const env = { THINFS_CACHE_HOME: cache };
  const start = performance.now();
  const measured = ['-f', '%M KiB', ...command, image, ...target]; // time(1) for the peak of memory
  const { stdout, stderr } = await runCommand('/usr/bin/time', measured, { env });
  const milliseconds = performance.now() - start;
  const result = resultSchema.parse(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? ''));
  const peak = /(\d+) KiB\s*$/.exec(stderr)?.[1];
  if (peak === undefined) throw new Error(`Cannot tell the memory of thinify: ${stderr}`);
  return {
    milliseconds,
    peakMemory: Number(peak) * 1024,
    bytesUploaded: result.bytesUploaded,
    publishedBytes: result.platforms.reduce((sum, one) => sum + (one.publishedBytes ?? 0), 0),
    files: result.platforms.reduce((sum, one) => sum + (one.files ?? 0), 0),
  };
}

/** The words of a program's first line: it says how many threads it wants, and how it uses memory. */
async function interpreterOf(program: string): Promise<string[]> {
  const [first = ''] = (await readFile(program, 'utf8')).split('\n', 1);
  return first.replace(/^#!/, '').split(' ');
}
