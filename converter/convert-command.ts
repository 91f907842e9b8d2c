import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { Run } from '../src/cli/program.js';
import { openProgress, progressStyle } from '../src/cli/progress.js';
import { nodeConfig } from '../src/config.js';
import { ThinError } from '../src/errors.js';
import { formatReference } from '../src/image/reference.js';
import { parseBase } from '../src/thin/base-image.js';
import type { Destination } from './destination.js';
import type { NodePlace } from './node-layers.js';
import { describeResult, jsonResult } from './result-text.js';
import { addStoreFlags, type StoreFlags, storeOptions } from './store-flags.js';
import { thinify } from './thinify-image.js';
import { publishRecorded, recordStart } from './train-start.js';

interface ConvertFlags extends StoreFlags {
  name?: string;
  platform?: string;
  base?: string;
  fromNode?: boolean;
  root?: string;
  tier?: string[];
  force?: boolean;
  level?: string;
  hot?: string;
  record?: boolean;
  json?: boolean;
  quiet?: boolean;
}

const examples = `
thinify <image> is short for thinify convert <image>, whose options thinify convert --help lists.

Examples:
  thinify localhost:5000/python:1                        # beside the original
  thinify localhost:5000/python:1 --to dir:/srv/images
  thinify oci:./layout:latest --name example/app:1 --to s3://bucket/images
  thinify --from-node localhost:5000/python:1            # after thin pull: downloads no layer
  thinify localhost:5000/python:1 --record -- python3 app.py   # and learn what its start reads
  thinify docker-archive:app.tar --name localhost:5000/app:1   # pushes the original too
  thinify verify localhost:5000/python:1`;

export function addConvertCommand(program: Command, run: Run): void {
  const command = program
    .command('convert', { isDefault: true })
    .description('Convert an image and publish its thin form')
    .argument(
      '<image>',
      'registry reference, oci:<layout>[:tag], docker-archive:<tar> or dir:<rootfs>',
    )
    .argument('[command...]', "with --record: command and arguments (default: the image's)");
  addStoreFlags(command)
    .option('--name <reference>', 'name of the image in the store (default: its own)')
    .option('--platform <os/arch>', 'one platform of an index (default: all)')
    .option(
      '--base <reference>',
      'refer to chunks of this thin image of the same store; with --record or --hot: the version before, if it has another tag',
    )
    .option('--from-node', 'read the layers from what thin pull has left on this machine')
    .option('--root <folder>', "with --from-node or --hot: the node's folder (default: as thin)")
    .option(
      '--tier <tier>',
      'with --from-node: a tier of that node, as thin daemon was given it (may be repeated)',
      (value: string, others: string[] = []) => [...others, value],
    )
    .option('--force', 'convert and publish again what is published')
    .option('--level <number>', 'zstd level, 1 to 19 (default: 3)')
    .addOption(
      new Option('--hot <what>', "publish what starts on this machine's node have read").choices([
        'auto',
      ]),
    )
    .option(
      '--record',
      'run the command once in a container here, and publish what it reads; what is new is told from the version that the tag was of before',
    )
    .option('--json', 'events and the result as lines of JSON on standard output')
    .option('-q, --quiet', 'no progress')
    .action(async (image: string, words: string[], flags: ConvertFlags) => {
      checkTraining(words, flags);
      const destination = await convert(image, flags, run.signal);
      await train(destination, words, flags, run.signal);
    });
  program.addHelpText('after', examples);
}

/** Where packs wait and the conversion index lies; safe to delete when no converter runs. */
function cacheFolder(environment: NodeJS.ProcessEnv): string {
  const { THINFS_CACHE_HOME: own, XDG_CACHE_HOME: user } = environment;
  return own || join(user || join(homedir(), '.cache'), 'thinfs');
}

function nodePlace({ fromNode, root, tier, hot }: ConvertFlags): NodePlace | undefined {
  if (fromNode) {
    const node = nodeConfig({ root, tier }, process.env, process.getuid?.() ?? 0);
    return { root: node.root, tiers: node.tiers.map(({ directory }) => directory) };
  }
  if (tier !== undefined) {
    throw new ThinError('invalid', 'Cannot use --tier: wanted --from-node with it');
  }
  if (root === undefined || hot !== undefined) return undefined;
  throw new ThinError('invalid', 'Cannot use --root: wanted --from-node or --hot with it');
}

function checkTraining(words: readonly string[], { hot, record, username }: ConvertFlags): void {
  if (words.length > 0 && !record) {
    throw new ThinError('invalid', `Cannot use ${words[0]}: wanted --record with a command`);
  }
  if ((hot !== undefined || record) && username !== undefined) {
    throw new ThinError('invalid', 'Cannot use --username with --hot or --record: docker login');
  }
}

async function train(
  { location, reference }: Destination,
  words: readonly string[],
  { hot, record, base, root, plainHttp, caFile, s3Endpoint, s3Region }: ConvertFlags,
  signal: AbortSignal,
): Promise<void> {
  const flags = [
    ...(/^(dir|s3):/.test(location) ? ['--store', location] : []),
    ...(plainHttp === undefined ? [] : [plainHttp ? '--plain-http' : '--no-plain-http']),
    ...(caFile === undefined ? [] : ['--ca-file', caFile]),
    ...(s3Endpoint === undefined ? [] : ['--s3-endpoint', s3Endpoint]),
    ...(s3Region === undefined ? [] : ['--s3-region', s3Region]),
  ];
  const place = { reference: formatReference(reference), flags, base, signal };
  if (record) await recordStart(place, words);
  if (hot === 'auto') await publishRecorded(place, root && resolve(root));
}

/** @returns what the image is called in the store */
async function convert(
  image: string,
  flags: ConvertFlags,
  signal: AbortSignal,
): Promise<Destination> {
  const { to, name, platform, force } = flags;
  const level = flags.level === undefined ? undefined : parseLevel(flags.level);
  const base = flags.base === undefined ? undefined : parseBase(flags.base);
  const stores = await storeOptions(flags);
  const start = performance.now();
  const progress = openProgress(progressStyle(flags));
  let text: string;
  let destination: Destination;
  try {
    const result = await thinify({
      image,
      to,
      name,
      platform,
      force,
      level,
      base,
      node: nodePlace(flags),
      stores,
      cacheFolder: cacheFolder(process.env),
      signal,
      progress,
    });
    const seconds = (performance.now() - start) / 1000;
    ({ destination } = result);
    text = flags.json ? jsonResult(result, seconds) : describeResult(result, seconds);
  } finally {
    progress.close();
  }
  process.stdout.write(text);
  return destination;
}

/** What zstd's own levels are, without those that need memory by the hundred MiB. */
function parseLevel(text: string): number {
  const level = Number(text);
  if (Number.isInteger(level) && level >= 1 && level <= 19) return level;
  throw new ThinError('invalid', `Cannot use --level ${text}: wanted 1 to 19`);
}
