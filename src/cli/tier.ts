import type { Command } from 'commander';
import type { PinnedImage, TierReport } from '../daemon/hot-tier.js';
import type { TierChoice } from '../daemon/tier-choices.js';
import { formatSize, parseSize } from '../units.js';
import { addNodeFlags, connectDaemon, type NodeFlags } from './connection.js';
import type { Run } from './program.js';

const examples = `
Examples:
  thin tier                              # what is pinned, and where
  thin tier pin localhost:5000/web:1     # also while nothing runs it
  thin tier limit 10G                    # for all of it
  thin tier limit auto                   # half of the first tier

What starts of an image read first is pinned: it lies in the first tier (the fast one of --tier, if
there is one) and leaves last. Images in use come first, then those that are started most.`;

export function addTierCommands(program: Command, run: Run): void {
  const tier = program
    .command('tier')
    .description('What is pinned in the fast tier')
    .addHelpText('after', examples);
  addNodeFlags(tier.command('show', { isDefault: true }))
    .description('Tiers, and what of each image is pinned')
    .option('--json', 'as JSON')
    .action(async (flags: NodeFlags & { json?: boolean }) => {
      const client = await connectDaemon(flags, run.signal);
      const report = await client.call('tier', {}, { signal: run.signal });
      process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : tierText(report));
    });
  const choices: readonly (readonly [name: string, choice: TierChoice, description: string])[] = [
    ['pin', 'pin', 'Pin the hot files of images, whether they are used or not'],
    ['unpin', 'never', 'Never pin the hot files of images'],
    ['auto', 'auto', 'Pin the hot files of images while they are used, or used much'],
  ];
  for (const [name, choice, description] of choices) {
    addNodeFlags(tier.command(name))
      .description(description)
      .argument('<image...>', 'references or digests of images of this node')
      .action(async (images: string[], flags: NodeFlags) => {
        const client = await connectDaemon(flags, run.signal);
        for (const image of images) {
          await client.call('tier.choose', { image, choice }, { signal: run.signal });
        }
      });
  }
  addNodeFlags(tier.command('limit'))
    .description('Limit what is pinned')
    .argument('<size|auto>', 'of all pinned files; auto: half of the first tier')
    .action(async (text: string, flags: NodeFlags) => {
      const bytes = text === 'auto' ? null : parseSize(text);
      const client = await connectDaemon(flags, run.signal);
      await client.call('tier.limit', { bytes }, { signal: run.signal });
    });
}

function tierText({ tiers, limitBytes, images }: TierReport): string {
  const pinned = images.reduce((sum, image) => sum + image.pinnedBytes, 0);
  const [first] = tiers;
  return `${[
    'TIER',
    ...tiers.map(
      ({ name, directory, bytes, quotaBytes }) =>
        `  ${name}  ${directory}  ${formatSize(bytes)} of ${formatSize(quotaBytes)}`,
    ),
    '',
    `pinned: ${formatSize(pinned)} of at most ${formatSize(limitBytes)}, in ${first?.name ?? 'no tier'}`,
    ...images.map((image) => `  ${imageText(image)}`),
  ].join('\n')}\n`;
}

const choiceTexts: Readonly<Record<TierChoice, string>> = {
  auto: '',
  pin: ', pinned by hand',
  never: ', not to be pinned',
};

function imageText(image: PinnedImage): string {
  const { reference, choice, inUse, starts, hotFiles, pinnedFiles, pinnedBytes, fastFiles } = image;
  const use = inUse ? 'in use' : `${starts.toFixed(1)} starts of late`;
  if (hotFiles === 0) return `${reference}  ${use}${choiceTexts[choice]}, no start is recorded`;
  const files = `${pinnedFiles} of ${hotFiles} hot files pinned, ${formatSize(pinnedBytes)}`;
  return `${reference}  ${use}${choiceTexts[choice]}, ${files}, ${fastFiles} of them there`;
}
