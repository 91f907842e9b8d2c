import type { Command } from 'commander';
import type { Run } from '../src/cli/program.js';
import { openProgress, progressStyle } from '../src/cli/progress.js';
import { ThinError } from '../src/errors.js';
import { formatPlatform } from '../src/image/platform.js';
import { loadThinImage } from '../src/thin/load-thin-image.js';
import { formatSize } from '../src/units.js';
import { publishedImages } from './published-images.js';
import { addStoreFlags, type StoreFlags, storeOptions } from './store-flags.js';
import { verifyImage } from './verify-image.js';

interface CheckFlags extends StoreFlags {
  platform?: string;
  json?: boolean;
  quiet?: boolean;
}

/** Problems that are told one by one; one bad disk can make as many as there are files. */
const problemsShownMax = 100;

export function addCheckCommands(program: Command, run: Run): void {
  addStoreFlags(program.command('inspect'))
    .description('Show what is published for an image, as JSON')
    .argument('<image>', 'registry reference')
    .option('--platform <os/arch>', 'one platform (default: all)')
    .action(async (image: string, flags: CheckFlags) => {
      await inspect(image, flags, run.signal);
    });
  addStoreFlags(program.command('verify'))
    .description('Fetch and check everything that is published for an image')
    .argument('<image>', 'registry reference')
    .option('--platform <os/arch>', 'one platform (default: all)')
    .option('--json', 'events and the result as lines of JSON on standard output')
    .option('-q, --quiet', 'no progress')
    .action(async (image: string, flags: CheckFlags) => {
      await verify(image, flags, run.signal);
    });
}

async function open(image: string, flags: CheckFlags, signal: AbortSignal) {
  const { to: from, platform } = flags;
  return await publishedImages({
    image,
    from,
    platform,
    stores: await storeOptions(flags),
    signal,
  });
}

async function inspect(image: string, flags: CheckFlags, signal: AbortSignal): Promise<void> {
  await using published = await open(image, flags, signal);
  const { store, images } = published;
  const shown: object[] = [];
  for (const { manifest, descriptor } of images) {
    const { chunkMap } = await loadThinImage(store, descriptor, signal);
    let [files, plainBytes, references] = [0, 0, 0];
    for (const { size, chunkCount } of chunkMap.files()) {
      files += 1;
      plainBytes += size;
      references += chunkCount;
    }
    const { image: original, version, metadata, chunkMap: map, packs } = descriptor;
    shown.push({
      platform: formatPlatform(original.platform),
      thinManifest: manifest.digest,
      manifest: original.manifest.digest,
      version,
      layers: original.layers,
      files,
      plainBytes,
      chunkReferences: references,
      metadata,
      chunkMap: map,
      packs,
      config: JSON.parse(original.config.text),
    });
  }
  process.stdout.write(`${JSON.stringify({ store: store.toString(), images: shown }, null, 2)}\n`);
}

async function verify(image: string, flags: CheckFlags, signal: AbortSignal): Promise<void> {
  const progress = openProgress(progressStyle(flags));
  let problems = 0;
  const lines: string[] = [];
  const onProblem = (problem: string) => {
    problems += 1;
    if (problems <= problemsShownMax) lines.push(problem);
  };
  const onProgress = progress.update.bind(progress);
  const report: object[] = [];
  try {
    await using published = await open(image, flags, signal);
    for (const found of published.images) {
      const platform = formatPlatform(found.descriptor.image.platform);
      const counts = await verifyImage(published.store, found, { signal, onProgress, onProblem });
      report.push({ platform, thinManifest: found.manifest.digest, ...counts });
      if (!flags.json) lines.push(describe(image, platform, counts));
    }
  } finally {
    progress.close();
  }
  const result = { event: 'result', image, problems: lines, platforms: report };
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${lines.join('\n')}\n`);
  if (problems === 0) return;
  throw new ThinError('corrupt', `Cannot use thin image of ${image}: it has ${problems} problems`);
}

type Counts = Awaited<ReturnType<typeof verifyImage>>;

function describe(image: string, platform: string, { problems, ...counts }: Counts): string {
  const { inodes, files, bytes } = counts;
  const state = problems === 0 ? 'all right' : `${problems} problems`;
  return `${image} ${platform}: ${state}; ${inodes} inodes, ${files} contents, ${formatSize(bytes)} of packs`;
}
