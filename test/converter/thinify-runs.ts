import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type ThinifyOptions, thinify } from '../../converter/thinify-image.js';
import { openProgress } from '../../src/cli/progress.js';
import { type CommandResult, runCommand } from '../support/run-command.js';

const program = [
  `--import=${import.meta.resolve('tsx')}`,
  new URL('../../converter/thinify.ts', import.meta.url).pathname,
];

/** A folder that goes with the test. */
export function testFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-converter-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Words of a command line that runs `thinify`. */
export function thinifyWords(...args: string[]): string[] {
  return [process.execPath, ...program, ...args];
}

/** Runs `thinify` as a process with a cache folder of its own. */
export async function runThinify(
  cache: string,
  args: readonly string[],
  input = '',
): Promise<CommandResult> {
  const env = { THINFS_CACHE_HOME: cache };
  return await runCommand(process.execPath, [...program, ...args], { env, input, mayFail: true });
}

/** What a conversion in this process needs to be told. */
export type Conversion = Pick<
  ThinifyOptions,
  'image' | 'to' | 'name' | 'force' | 'base' | 'platform'
>;

/** Converts in this process, and returns the bytes that were sent and reused. */
export async function convert(cacheFolder: string, conversion: Conversion) {
  const { signal } = new AbortController();
  const progress = openProgress('quiet');
  const result = await thinify({ ...conversion, stores: {}, cacheFolder, signal, progress });
  const converted = result.platforms.flatMap((platform) => platform.converted ?? []);
  const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);
  return {
    alreadyPublished: converted.length === 0,
    bytesUploaded: sum(converted.map(({ bytesUploaded }) => bytesUploaded)),
    bytesReused: sum(converted.map(({ bytesReused }) => bytesReused)),
    publishedBytes: sum(converted.map(({ publishedBytes }) => publishedBytes)),
    originalBytes: result.originalBytes,
    thinManifests: result.platforms.map(({ listed }) => listed.digest),
    manifests: result.platforms.map(({ source }) => source.digest),
  };
}

/** Blobs of a folder store, with their content. */
export function blobsOf(store: string): Map<string, Buffer> {
  const folder = join(store, 'blobs', 'sha256');
  return new Map(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name))]),
  );
}

/** A layout of its own, to be damaged. */
export function copyLayout(t: Test, layout: string): string {
  const copy = join(testFolder(t), 'layout');
  cpSync(layout, copy, { recursive: true });
  return copy;
}
