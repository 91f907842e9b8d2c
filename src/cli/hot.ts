import type { Command } from 'commander';
import { displayByteString } from '../byte-string.js';
import { type Digest, parseDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { HotFolder } from '../hot/hot-folder.js';
import {
  decodeHotLists,
  encodeHotLists,
  type HotList,
  hotListBytesMax,
  hotRanges,
} from '../hot/hot-list.js';
import type { ErofsImage } from '../metadata/erofs-image.js';
import { parseBase } from '../thin/base-image.js';
import { formatSize } from '../units.js';
import {
  addImageFlags,
  addNodeFlags,
  configOf,
  connectDaemon,
  type ImageFlags,
  imageRequest,
  type NodeFlags,
} from './connection.js';
import { openTree } from './image-tree.js';
import type { Run } from './program.js';

/** Bytes of an import: as many lists as a few images have. */
const importBytesMax = 2 * hotListBytesMax;

const publishExamples = `
Examples:
  thin hot publish localhost:5000/python:1
  thin hot publish localhost:5000/web:1.1 --base localhost:5000/web:1.0`;

interface PublishFlags extends ImageFlags {
  base?: string;
  json?: boolean;
}

export function addHotCommands(program: Command, run: Run): void {
  const hot = program.command('hot').description('What containers of an image read first');
  addPublish(hot, run);
  addTransfer(hot, run);
  addImageFlags(hot.command('show'))
    .description('What will be brought ahead of the next start of each command that was run')
    .argument('<image>', 'image reference')
    .option('--json', 'as JSON')
    .action(async (reference: string, flags: ImageFlags & { json?: boolean }) => {
      const { summary, tree } = await openTree(reference, flags, run.signal);
      const lists = await new HotFolder(configOf(flags).root).of(parseDigest(summary.manifest));
      const paths = pathsByContent(tree);
      const shown = lists.map((list) => shownList(list, paths));
      const text = shown.map(textOf).join('') || `no start of ${reference} was recorded here yet\n`;
      process.stdout.write(flags.json ? `${JSON.stringify(shown)}\n` : text);
    });
}

function addPublish(hot: Command, run: Run): void {
  addImageFlags(hot.command('publish'))
    .description(
      'Publish what this node has recorded of an image beside its thin form, for all nodes: one small push. ' +
        'If the tag was of another version before, of which that was published too, what is new is also ' +
        'told from that one: nodes that have run it fetch much less (a delta pack).',
    )
    .argument('<image>', 'image reference')
    .option('--base <reference>', 'the version before, in the same store, if it has another tag')
    .option('--json', 'as JSON')
    .addHelpText('after', publishExamples)
    .action((reference: string, flags: PublishFlags) => publish(reference, flags, run.signal));
}

async function publish(
  reference: string,
  { base, json, ...flags }: PublishFlags,
  signal: AbortSignal,
): Promise<void> {
  const named = base === undefined ? undefined : parseBase(base);
  const request = await imageRequest(reference, flags);
  const client = await connectDaemon(flags, signal);
  const summary = await client.call('image.open', request, { signal });
  const folder = new HotFolder(configOf(flags).root);
  const { publishHot } = await import('./hot-publish.js');
  const published = await publishHot({ request, summary, folder, base: named }, signal);
  const { store, commands, packBytes, deltaBytes, newBytes } = published;
  const count = commands.length === 1 ? '1 command' : `${commands.length} commands`;
  const untold =
    base === undefined
      ? ''
      : `no delta pack (nothing is new, or no start of ${base} is published), `;
  const text =
    `${reference}: ${count}, ${formatSize(packBytes)} of hot packs, ` +
    (deltaBytes > 0 ? `${formatSize(deltaBytes)} where the version before has run, ` : untold) +
    `${formatSize(newBytes)} sent to ${store}\n`;
  process.stdout.write(json ? `${JSON.stringify(published)}\n` : text);
}

function addTransfer(hot: Command, run: Run): void {
  addImageFlags(hot.command('export'))
    .description('Write what this node has recorded of an image to standard output')
    .argument('<image>', 'image reference')
    .action(async (reference: string, flags: ImageFlags) => {
      const { summary } = await openTree(reference, flags, run.signal);
      const lists = await new HotFolder(configOf(flags).root).of(parseDigest(summary.manifest));
      process.stdout.write(encodeHotLists(lists));
    });
  addNodeFlags(hot.command('import'))
    .description('Add what another node has exported, from standard input')
    .action(async (flags: NodeFlags) => {
      const lists = decodeHotLists(await standardInput());
      await new HotFolder(configOf(flags).root).import(lists);
      process.stdout.write(`${lists.length} commands\n`);
    });
}

async function standardInput(): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of process.stdin) {
    pieces.push(piece);
    size += piece.length;
    if (size > importBytesMax) {
      throw new ThinError('invalid', `Cannot import: more than ${formatSize(importBytesMax)}`);
    }
  }
  return Buffer.concat(pieces);
}

interface ShownList {
  readonly args: readonly string[];
  readonly runs: number;
  /** In the order in which they are brought. */
  readonly ranges: readonly {
    readonly path: string;
    readonly offset: number;
    readonly length: number;
    /** Bytes of the whole file. */
    readonly size: number;
  }[];
}

function shownList(list: HotList, paths: ReadonlyMap<Digest, string>): ShownList {
  const ranges = hotRanges(list).map(({ content, offset, length, size }) => ({
    path: paths.get(content) ?? content,
    ...{ offset, length, size },
  }));
  return { args: list.args, runs: list.runs.length, ranges };
}

function textOf({ args, runs, ranges }: ShownList): string {
  const bytes = ranges.reduce((sum, { length }) => sum + length, 0);
  const lines = ranges.map(({ path, offset, length, size }) => {
    const part = length === size ? 'all' : `at ${offset} of ${formatSize(size)}`;
    return `  ${formatSize(length).padStart(8)}  ${path}  ${part}\n`;
  });
  const of = runs === 1 ? 'one start' : `${runs} starts`;
  return `${args.join(' ')}\n  ${formatSize(bytes)}, learned from ${of}:\n${lines.join('')}`;
}

/** One path of each content: the first that a walk finds. */
function pathsByContent(tree: ErofsImage): Map<Digest, string> {
  const paths = new Map<Digest, string>();
  const folders = [{ nid: tree.rootNid, path: '' }];
  for (let folder = folders.pop(); folder; folder = folders.pop()) {
    for (const { name, nid, type } of tree.readdir(folder.nid)) {
      if (name === '.' || name === '..') continue;
      const path = `${folder.path}/${displayByteString(name)}`;
      if (type === 'directory') folders.push({ nid, path });
      const content = type === 'file' ? tree.inode(nid).content : undefined;
      if (content !== undefined && !paths.has(content)) paths.set(content, path);
    }
  }
  return paths;
}
