import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { type ByteString, byteStringFromText } from '../byte-string.js';
import type { ImageSummary } from '../daemon/control-api.js';
import type { ControlClient } from '../daemon/control-client.js';
import type { ErofsImage } from '../metadata/erofs-image.js';
import { resolvePath } from '../metadata/resolve-path.js';
import {
  addImageFlags,
  connectDaemon,
  type ImageFlags,
  imageRequest,
  showEvents,
} from './connection.js';
import { differenceText, type ListOptions, listPath, statText } from './image-tree-text.js';
import type { Run } from './program.js';
import { openProgress } from './progress.js';

/** `thin ls|cat|stat|diff`: answered from the metadata; only `cat` fetches file content. */
export function addImageTreeCommands(program: Command, run: Run): void {
  const image = ['<image>', 'image reference'] as const;
  addImageFlags(program.command('ls'))
    .description('List a folder of an image, from its metadata alone')
    .argument(...image)
    .argument('[path]', 'folder or file in the image', '/')
    .option('-l, --long', 'mode, owner, size and time of each entry', false)
    .option('-R, --recursive', 'all folders below it', false)
    .option('--json', 'one JSON object an entry')
    .action(async (reference: string, path: string, flags: ImageFlags & ListOptions) => {
      const { tree } = await openTree(reference, flags, run.signal);
      listPath(tree, byteStringFromText(path), flags);
    });
  addImageFlags(program.command('stat'))
    .description('Everything the metadata says of a path')
    .argument(...image)
    .argument('<path>', 'path in the image; a symlink at its end is not followed')
    .option('--json', 'as JSON')
    .action(async (reference: string, path: string, flags: ImageFlags & { json?: boolean }) => {
      const { tree } = await openTree(reference, flags, run.signal);
      process.stdout.write(statText(tree, byteStringFromText(path), flags.json === true));
    });
  addImageFlags(program.command('cat'))
    .description('Write files of an image to standard output, fetching only them')
    .argument(...image)
    .argument('<path...>', 'regular files in the image')
    .action(async (reference: string, paths: string[], flags: ImageFlags) => {
      const { client, summary, tree } = await openTree(reference, flags, run.signal);
      for (const path of paths) {
        await catFile(client, summary, tree, byteStringFromText(path), run.signal);
      }
    });
  addImageFlags(program.command('diff'))
    .description('What differs between two images: A added, D removed, C changed')
    .argument('<old-image>')
    .argument('<new-image>')
    .option('--json', 'one JSON object a difference')
    .action(async (older: string, newer: string, flags: ImageFlags & { json?: boolean }) => {
      const left = await openTree(older, flags, run.signal);
      const right = await openTree(newer, flags, run.signal);
      const { diffImages } = await import('../metadata/diff-images.js');
      for (const difference of diffImages(left.tree, right.tree)) {
        process.stdout.write(differenceText(difference, flags.json === true));
      }
    });
}

export interface OpenedTree {
  readonly client: ControlClient;
  readonly summary: ImageSummary;
  readonly tree: ErofsImage;
}

/** Has the daemon bring the image's metadata here, and reads it. */
export async function openTree(
  reference: string,
  flags: ImageFlags,
  signal: AbortSignal,
): Promise<OpenedTree> {
  const request = await imageRequest(reference, flags);
  const client = await connectDaemon(flags, signal);
  const progress = openProgress(process.stderr.isTTY ? 'bars' : 'quiet');
  try {
    const onEvent = showEvents(progress);
    const summary = await client.call('image.open', request, { signal, onEvent });
    // Loaded by the commands that read it: `thin run` starts without.
    const { ErofsImage: Image } = await import('../metadata/erofs-image.js');
    return { client, summary, tree: Image.parse(await readFile(summary.metadataPath)) };
  } finally {
    progress.close();
  }
}

async function catFile(
  client: ControlClient,
  summary: ImageSummary,
  tree: ErofsImage,
  path: ByteString,
  signal: AbortSignal,
): Promise<void> {
  resolvePath(tree, path, { followLast: true });
  for await (const bytes of client.readFile(summary.manifest, path, signal)) {
    if (!process.stdout.write(bytes)) {
      await new Promise((resolve) => process.stdout.once('drain', resolve));
    }
  }
}
