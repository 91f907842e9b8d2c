import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { CompletionStatus, MountSummary } from '../daemon/control-api.js';
import type { LocalShare, WhyReport } from '../daemon/observation.js';
import type { SourceReport } from '../store/source-health.js';
import { formatDuration, formatSize } from '../units.js';
import { addNodeFlags, connectDaemon, type NodeFlags } from './connection.js';
import type { Run } from './program.js';
import { describeWaiting } from './waiting-text.js';

export function addWhyCommand(program: Command, run: Run): void {
  addNodeFlags(program.command('why'))
    .description('What a mount, a container or an image has, fetches and waits for')
    .argument('<name>', 'mount point, id of a mount or container, or image')
    .option('--json', 'the whole answer as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  thin why /mnt\n  thin why web-1\n  thin why localhost:5000/python:1',
    )
    .action(async (name: string, flags: NodeFlags & { json?: boolean }) => {
      const client = await connectDaemon(flags, run.signal);
      const path = name.startsWith('.') || name.startsWith('/') ? resolve(name) : name;
      const report = await client.call('why', { name: path }, { signal: run.signal });
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
    });
}

function describe(report: WhyReport): string {
  const { mount, fetched, reads, sources, waiting, completion } = report;
  const lines = [
    `image: ${report.references.join(', ') || report.manifest}`,
    ...(mount ? [`mount: ${describeMount(mount)}`] : []),
    ...(report.portableReason ? [`not composed: ${report.portableReason}`] : []),
    `files: ${describeFiles(report)}`,
    `tiers: ${report.tiers.map(({ name, directory }) => `${name} (${directory})`).join(', ')}`,
    `so far: ${reads} reads that no complete local file could answer, ` +
      `${fetched.requests} requests, ${formatSize(fetched.bytes)} fetched, ${fetched.failures} failed`,
    ...(completion ? [`the rest: ${describeCompletion(completion)}`] : []),
    ...sources.map((source) => `source: ${describeSource(source)}`),
    ...(waiting.length === 0 ? ['nothing waits'] : ['WAITING']),
    ...waiting.map((read) => `  ${describeWaiting(read)}`),
  ];
  return `${lines.join('\n')}\n`;
}

function describeMount(mount: MountSummary): string {
  const { id, kind, target, form, server, readOnly, exitCode } = mount;
  if (exitCode !== undefined) return `${kind} ${id}, ended with ${exitCode}`;
  return `${kind} ${id} at ${target}, ${readOnly ? 'read-only' : 'writable'}, ${form} (${server})`;
}

function describeCompletion(completion: CompletionStatus): string {
  const { state, totalBytes, missingBytes, reason } = completion;
  if (state === 'complete') return 'all of it is here';
  if (state === 'waiting') return 'is fetched when nothing else goes on';
  const sizes = `${formatSize(missingBytes)} of ${formatSize(totalBytes)} are missing`;
  return `${state}, ${sizes}${reason === undefined ? '' : `: ${reason}`}`;
}

function describeFiles({ kind, state, local, completion }: WhyReport): string {
  if (kind === 'pulled' && completion?.state === 'failed') {
    return 'in part: the rest has not come, and who reads it gets an error (thin pull tries again)';
  }
  if (kind === 'pulled' && state === 'lazy') return 'on its way: what is read is waited for';
  if (kind === 'pulled') return `complete: pulled in full${local ? `, ${share(local)}` : ''}`;
  if (!local) return 'lazy: it was not mounted since the cache was made';
  if (state === 'complete') return `complete: ${share(local)}; no store is needed`;
  return `lazy: ${share(local)}; the rest comes when it is read`;
}

function share(local: LocalShare): string {
  const { partialFiles, partialBytes } = local;
  const part =
    partialFiles > 0 ? `, ${partialFiles} more in part (${formatSize(partialBytes)})` : '';
  return (
    `${local.localFiles} of ${local.files} files, ` +
    `${formatSize(local.localBytes)} of ${formatSize(local.bytes)} are here${part}`
  );
}

function describeSource(source: SourceReport): string {
  const { lastSuccess, lastFailure, roundTripMs, bytesPerSecond, pausedUntil } = source;
  const ago = (time: number) => `${formatDuration(Date.now() - time)} ago`;
  const parts = [
    stateText[source.state],
    ...(lastSuccess === undefined ? [] : [`last answer ${ago(lastSuccess)}`]),
    ...(roundTripMs === undefined ? [] : [`first byte after ${formatDuration(roundTripMs)}`]),
    ...(bytesPerSecond === undefined ? [] : [`${formatSize(bytesPerSecond)}/s a request`]),
    ...(pausedUntil === undefined ? [] : [`asked again in ${inTime(pausedUntil)}`]),
    ...(source.inFlight > 0 ? [`${source.inFlight} requests under way`] : []),
    ...(source.queued > 0 ? [`${source.queued} queued`] : []),
  ];
  const failed = lastFailure ? `\n    failed ${ago(lastFailure.at)}: ${lastFailure.message}` : '';
  return `${source.source}, ${parts.join(', ')}${failed}`;
}

const stateText: Readonly<Record<SourceReport['state'], string>> = {
  unused: 'not asked yet',
  up: 'works',
  down: 'DOWN',
};

function inTime(time: number): string {
  return formatDuration(Math.max(0, time - Date.now()));
}
