import type { Command } from 'commander';
import type { PopReport } from '../pop/point-of-presence.js';
import type { SharedTierReport } from '../pop/shared-tier-report.js';
import { formatDuration, formatSize } from '../units.js';
import { addNodeFlags, connectDaemon, type NodeFlags } from './connection.js';
import type { Run } from './program.js';

const examples = `
Examples:
  head -c 32 /dev/urandom > /etc/thinfs.secret        # once; the same file on all nodes
  thin daemon restart --pop redis://cache:6379 --pop-secret /etc/thinfs.secret
  thin daemon restart --tier shared=/mnt/cephfs/thinfs  # a folder that all nodes mount
  thin pop status

The nodes of a site share what any of them has fetched. Redis says who fetches what; the bytes go
from node to node, or through a folder that all of them mount. None of it is needed: what is away is done without, and joined again by itself.`;

export function addPopCommands(program: Command, run: Run): void {
  const pop = program
    .command('pop')
    .description('The site whose nodes share what they fetch')
    .addHelpText('after', examples);
  addNodeFlags(pop.command('status'))
    .description('The nodes of the site, and where frames came from')
    .option('--json', 'as JSON')
    .action(async (flags: NodeFlags & { json?: boolean }) => {
      const client = await connectDaemon(flags, run.signal);
      const report = await client.call('pop', {}, { signal: run.signal });
      const tier = await client.call('sharedTier', {}, { signal: run.signal });
      const all = report || tier ? { ...report, sharedTier: tier } : null;
      const text = () => popText(report) + (tier ? tierText(tier) : '');
      process.stdout.write(flags.json ? `${JSON.stringify(all)}\n` : text());
    });
}

function tierText(report: SharedTierReport): string {
  const { directory, direct, away, counts, waiting, quotaBytes, foundBytes } = report;
  return `${[
    '',
    `SHARED TIER ${directory}${direct ? ', read by mounts directly' : ''}`,
    away === null ? '  is there' : `  is not used: ${away}`,
    `  read: ${formatSize(counts.bytes)} in ${counts.reads} reads; ${counts.absent} of files it has not got, ${counts.late} late`,
    `  put there: ${counts.stored} files, ${formatSize(counts.storedBytes)}; ${waiting} wait, ${counts.failures} failed`,
    `  wrong files removed: ${counts.wrong}; images removed for want of room: ${counts.evicted}, ${formatSize(counts.evictedBytes)}`,
    ...(quotaBytes === null
      ? []
      : [
          `  holds ${foundBytes === null ? 'an unknown part' : formatSize(foundBytes)} of ${formatSize(quotaBytes)}`,
        ]),
  ].join('\n')}\n`;
}

function popText(report: PopReport | null): string {
  if (!report) return 'this node is in no site (see thin pop --help)\n';
  const { peers, served, shared, shelf, leases } = report;
  return `${[
    report.agreed ? 'Redis answers' : 'Redis does not answer: each node is on its own',
    `shared: ${shared.frames} frames, ${formatSize(shared.bytes)}`,
    '',
    'NODE',
    ...report.members.map((member) => `  ${memberText(member, report.node)}`),
    '',
    ...sourcesText(report),
    '',
    `given to others: ${formatSize(served.bytes)} in ${served.requests} requests, ${served.busy} turned away, ${served.refused} refused`,
    `asked of others: ${peers.asked} frames in ${peers.requests} requests, ${peers.hedged} of another as well as one was late; ${peers.failures} requests failed, ${peers.wrong} frames were wrong`,
    `kept for the site: ${shelf.frames} frames, ${formatSize(shelf.bytes)}`,
    `leases: ${leases.held} held here, ${leases.waiting} frames waited for`,
    ...leases.waits.map(
      ({ node, pieces, longestMs }) =>
        `  ${pieces} of ${node}, the first for ${formatDuration(longestMs)}`,
    ),
  ].join('\n')}\n`;
}

/** Where frames came from, with the share that each source has. */
function sourcesText({ counts, aloneFor }: PopReport): string[] {
  const all = Object.values(counts);
  const frames = all.reduce((sum, of) => sum + of.frames, 0);
  const bytes = all.reduce((sum, of) => sum + of.bytes, 0);
  const line = (name: string, of: { frames: number; bytes: number }) =>
    `  ${name.padEnd(34)}${String(of.frames).padStart(9)} ${percent(of.frames, frames)}  ${formatSize(of.bytes).padStart(8)} ${percent(of.bytes, bytes)}`;
  const near = counts.shelf.frames + counts.peers.frames;
  const ratio = frames === 0 ? '' : `,${percent(near, frames)} from the site`;
  return [
    `FRAMES of this node since it was started${ratio}`,
    line('from its own shelf', counts.shelf),
    line('from other nodes', counts.peers),
    line('from the origin, for the site', counts.origin),
    line('from the origin, without agreement', counts.alone),
    `    ${aloneFor.unready} times as Redis was away, ${aloneFor.unanswered} as it left a claim unanswered,`,
    `    ${aloneFor.fetching} as who fetched it took too long, ${aloneFor.notGiven} as who had it did not give it`,
  ];
}

function percent(part: number, all: number): string {
  return `${all === 0 ? '-' : Math.round((100 * part) / all)} %`.padStart(6);
}

function memberText({ node, info, alive, silentMs }: PopReport['members'][number], own: string) {
  const state = alive ? 'alive' : `silent for ${formatDuration(silentMs)}`;
  const up = formatDuration(Date.now() - info.startedAt);
  const kept = info.work && `keeps ${formatSize(info.work.kept.bytes)}`;
  const busy = info.work && `fetches ${info.work.held}, waits for ${info.work.waiting}`;
  const told = [kept, busy, node === own ? 'this node' : undefined];
  const rest = told.filter((each) => each !== undefined).join(', ');
  return `${node}  ${info.host}  ${info.url ?? 'serves nobody'}  ${state}, up ${up}${rest && `, ${rest}`}`;
}
