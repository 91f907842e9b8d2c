import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { MountChoice } from '../daemon/root.js';
import { fromSystemError } from '../errors.js';
import { makeFolder } from '../make-folder.js';
import {
  addImageFlags,
  addNodeFlags,
  connectDaemon,
  type ImageFlags,
  imageRequest,
  mountOption,
  type NodeFlags,
  showEvents,
  startOption,
} from './connection.js';
import type { Run } from './program.js';
import { openProgress, progressStyle } from './progress.js';

const mountExamples = `
Examples:
  thin mount localhost:5000/python:1 /mnt             # writable; changes are forgotten at unmount
  thin mount --read-only debian:12 ./debian
  thin unmount /mnt`;

export function addMountCommands(program: Command, run: Run): void {
  const mount = program
    .command('mount')
    .description('Mount an image; its files are fetched when they are read')
    .argument('<image>', 'image reference')
    .argument('<folder>', 'where to mount it; made if it does not exist');
  addImageFlags(mount)
    .option('--read-only', 'without a writable layer (always so for users other than root)', false)
    .option('--json', 'events as JSON lines')
    .addOption(mountOption())
    .addOption(startOption())
    .option('-q, --quiet', 'no progress')
    .addHelpText('after', mountExamples)
    .action(async (image: string, folder: string, flags: MountFlags) => {
      await mountImage(image, resolve(folder), flags, run.signal);
    });
  const unmount = program
    .command('unmount')
    .alias('umount')
    .description('Unmount what thin mount mounted')
    .argument('<folder>', 'mount point, or the id that thin status shows');
  addNodeFlags(unmount)
    .option('-f, --force', 'detach it although it is busy', false)
    .action(async (folder: string, flags: NodeFlags & { force: boolean }) => {
      const client = await connectDaemon(flags, run.signal);
      const target = mountId.test(folder) ? folder : resolve(folder);
      await client.call('unmount', { target, force: flags.force }, { signal: run.signal });
    });
}

/** As `thin status` shows them. */
const mountId = /^[0-9a-f]{12}$/;

interface MountFlags extends ImageFlags {
  readOnly: boolean;
  json?: boolean;
  quiet?: boolean;
  mount?: MountChoice;
}

async function mountImage(
  image: string,
  target: string,
  flags: MountFlags,
  signal: AbortSignal,
): Promise<void> {
  const request = await imageRequest(image, flags);
  await makeFolder(target).catch((error: unknown) => {
    throw fromSystemError(`Cannot make mount point ${target}`, error);
  });
  const readOnly = flags.readOnly || process.getuid?.() !== 0;
  const client = await connectDaemon(flags, signal);
  const progress = openProgress(progressStyle(flags));
  const reconnect = () => connectDaemon(flags, signal);
  try {
    const body = { ...request, target, readOnly, form: flags.mount, requestId: randomUUID() };
    const options = { signal, onEvent: showEvents(progress), reconnect };
    const mounted = await client.call('mount', body, options);
    if (flags.json) process.stdout.write(`${JSON.stringify({ event: 'mounted', ...mounted })}\n`);
  } finally {
    progress.close();
  }
}
