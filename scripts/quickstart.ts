/** What `./scripts/quickstart` does once everything is installed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { describeError } from '../src/errors.js';
import { formatSize } from '../src/units.js';
import { runCommand } from '../test/support/run-command.js';
import { extractQuickly, makeBundle, runBundle } from './extracted-image.js';
import { ensureImage } from './images/image-cache.js';
import { type LayoutImage, layoutTag, readImage } from './images/image-manifest.js';

const programs = {
  thin: fileURLToPath(new URL('../dist/src/cli/thin.js', import.meta.url)),
  thinify: fileURLToPath(new URL('../dist/converter/thinify.js', import.meta.url)),
};
const name = 'quickstart/python:1';
const program = ['python3', '-c', 'import json; print(json.dumps({"hello": "from Python"}))'];

/** What of `thin status --json` is told here. */
const statusSchema = z.object({
  images: z.array(z.object({ fetched: z.object({ requests: z.number(), bytes: z.number() }) })),
});

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Shows the command as a person would type it, runs it with its output on ours. */
async function type(command: keyof typeof programs, args: readonly string[]): Promise<string> {
  say(
    `$ ${command} ${args.map((word) => (/^[\w:./@=-]+$/.test(word) ? word : `'${word}'`)).join(' ')}`,
  );
  const { stdout, stderr } = await runCommand(process.execPath, [programs[command], ...args]);
  for (const line of `${stderr}${stdout}`.trim().split('\n')) say(`  ${line}`);
  return stdout;
}

/** Milliseconds that `work` takes. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function pullInFull(image: LayoutImage, work: string): Promise<void> {
  await extractQuickly(image, join(work, 'extracted'));
  await makeBundle(join(work, 'bundle'), join(work, 'extracted'), program);
  await runBundle(join(work, 'bundle'), `thinfs-quickstart-${process.pid}`);
}

async function quickstart(work: string): Promise<void> {
  say('== an image of Debian packages, as docker build would make it');
  const image = await readImage(await ensureImage('python'));
  const size = image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  say(`  ${image.layers.length} layers, ${formatSize(size)}: ${image.layout}`);

  say('== convert it; the store is a folder');
  const store = `dir:${join(work, 'store')}`;
  await type('thinify', [`oci:${image.layout}:${layoutTag}`, '--name', name, '--to', store]);

  say('== run it on a node that has none of it');
  const lazy = await timed(() => type('thin', ['run', '--rm', '--store', store, name, ...program]));
  const again = await timed(() =>
    type('thin', ['run', '--rm', '--store', store, name, ...program]),
  );
  const status = await runCommand(process.execPath, [programs.thin, 'status', '--json']);
  const { images } = statusSchema.parse(JSON.parse(status.stdout));
  const requests = images.reduce((sum, { fetched }) => sum + fetched.requests, 0);
  const bytes = images.reduce((sum, { fetched }) => sum + fetched.bytes, 0);

  say('== the same with all layers extracted first');
  const full = await timed(() => pullInFull(image, work));
  say('');
  say(`lazy:       ${seconds(lazy)}, ${formatSize(bytes)} fetched in ${requests} requests`);
  say(`once more:  ${seconds(again)}, nothing fetched`);
  say(`full pull:  ${seconds(full)}, ${formatSize(size)}`);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

const work = await mkdtemp(join(tmpdir(), 'thinfs-quickstart-'));
process.env.THINFS_ROOT = join(work, 'node');
try {
  await quickstart(work);
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = 1;
} finally {
  const stop = [programs.thin, 'daemon', 'stop', '--force'];
  await runCommand(process.execPath, stop, { mayFail: true });
  await rm(work, { recursive: true, force: true });
}
