import type { Command } from 'commander';
import type {
  FirstStart,
  ImageSummary,
  LeftFolder,
  MountSummary,
  NodeStatus,
} from '../daemon/control-api.js';
import { formatDuration, formatSize } from '../units.js';
import { addNodeFlags, connectDaemon, type NodeFlags } from './connection.js';
import type { Run } from './program.js';
import { addTopCommand } from './top.js';
import { describeWaiting } from './waiting-text.js';
import { addWhyCommand } from './why.js';

export function addStatusCommands(program: Command, run: Run): void {
  addNodeFlags(program.command('status'))
    .description('What is cached, mounted and running on this node')
    .option('--json', 'the whole state as JSON')
    .action(async (flags: NodeFlags & { json?: boolean }) => {
      const client = await connectDaemon(flags, run.signal);
      const status = await client.call('status', {}, { signal: run.signal });
      process.stdout.write(flags.json ? `${JSON.stringify(status, null, 2)}\n` : describe(status));
    });
  addWhyCommand(program, run);
  addTopCommand(program, run);
  addNodeFlags(program.command('gc'))
    .description('Remove cached files and images that nothing uses')
    .option('--all', 'also images that are not mounted, with all their files', false)
    .option('--json', 'what was removed, as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  thin gc          # files of no image, ended containers\n  thin gc --all    # everything that is not mounted',
    )
    .action(async (flags: NodeFlags & { all: boolean; json?: boolean }) => {
      const client = await connectDaemon(flags, run.signal);
      const removed = await client.call('gc', { all: flags.all }, { signal: run.signal });
      const text = `removed ${removed.images} images, ${removed.files} files, ${formatSize(removed.bytes)}`;
      process.stdout.write(`${flags.json ? JSON.stringify(removed) : text}\n`);
    });
  addNodeFlags(program.command('rm'))
    .description(
      'Remove an ended container that was run without --rm, or what is left of a container or mount',
    )
    .argument('<container...>', 'names or ids, as thin status shows them')
    .addHelpText('after', '\nExample:\n  thin rm web-1    # with all that it has changed')
    .action(async (containers: string[], flags: NodeFlags) => {
      const client = await connectDaemon(flags, run.signal);
      for (const id of containers) {
        await client.call('container.remove', { id }, { signal: run.signal });
      }
    });
}

function describe(status: NodeStatus): string {
  const { cache } = status;
  const up = formatDuration(Date.now() - status.startedAt);
  const lines = [
    `thinfs ${status.version}, pid ${status.pid}, up ${up}, root ${status.root}`,
    `cache: ${formatSize(cache.bytes)} of ${formatSize(cache.quota)}, ${cache.files} files, ` +
      `${cache.partialFiles} in part; at least ${formatSize(cache.freeSpaceFloor)} stay free`,
    '',
    ...section('IMAGE', status.images, describeImage, 'no images'),
    '',
    ...section('MOUNTED', status.mounts, describeMount, 'nothing mounted'),
    ...leftSection(status.left ?? []),
    ...waitingSection(status.waiting),
  ];
  return `${lines.join('\n')}\n`;
}

function section<T>(
  title: string,
  items: readonly T[],
  line: (item: T) => string,
  none: string,
): string[] {
  return items.length === 0 ? [none] : [title, ...items.map((item) => `  ${line(item)}`)];
}

function leftSection(left: readonly LeftFolder[]): string[] {
  if (left.length === 0) return [];
  return [
    '',
    'LEFT AS IT IS (thin rm removes it, with all that was changed in it)',
    ...left.map(({ id, kind, folder, reason }) => `  ${id}  ${kind}  ${folder}  ${reason}`),
  ];
}

function waitingSection(waiting: NodeStatus['waiting']): string[] {
  if (waiting.length === 0) return [];
  return ['', 'WAITING', ...waiting.map((read) => `  ${describeWaiting(read)}`)];
}

function describeImage(image: NodeStatus['images'][number]): string {
  const name = image.references[0] ?? image.manifest.slice(0, 19);
  const size = `${image.files} files, ${formatSize(image.fileBytes)}`;
  return `${name}  ${image.platform}  ${size}, ${describeOrigin(image)}`;
}

function describeOrigin(image: ImageSummary & NodeStatus['images'][number]): string {
  if (image.kind === 'pulled') {
    return image.completion
      ? `pulled in part${describeCompletion(image.completion)}`
      : 'pulled in full';
  }
  const { requests, bytes, failures } = image.fetched;
  const failed = failures > 0 ? `, ${failures} failed` : '';
  const saved = image.firstStart ? describeFirstStart(image.firstStart) : '';
  const fetched = `fetched ${formatSize(bytes)} in ${requests} requests${failed}`;
  return `lazy, ${fetched} from ${image.source}${saved}${describeCompletion(image.completion)}`;
}

/** What an older version, or another image, has spared. */
function describeFirstStart({ neededBytes, hereBytes }: FirstStart): string {
  if (hereBytes === 0) return '';
  return `, ${formatSize(hereBytes)} of the ${formatSize(neededBytes)} that its first start needed were here`;
}

function describeCompletion(completion: NodeStatus['images'][number]['completion']): string {
  if (!completion || completion.state === 'waiting') return '';
  if (completion.state === 'complete') return ', all of it is here';
  if (completion.state === 'failed') return `, the rest failed: ${completion.reason}`;
  const { totalBytes, missingBytes, state, reason } = completion;
  const rest = `${formatSize(totalBytes - missingBytes)} of ${formatSize(totalBytes)}`;
  const trouble = reason === undefined ? '' : `: ${reason}`;
  return `, ${state === 'paused' ? 'paused at' : 'fetching the rest,'} ${rest}${trouble}`;
}

function describeMount(mount: MountSummary): string {
  const mode = mount.readOnly ? 'read-only' : 'writable';
  if (mount.exitCode !== undefined) {
    return `${mount.id}  ended with ${mount.exitCode}  ${mount.reference}`;
  }
  const since = formatDuration(Date.now() - mount.since);
  const form = `${mount.form}, ${mode}, ${since}`;
  return `${mount.id}  ${mount.kind}  ${mount.target}  ${mount.reference}  ${form}`;
}
