import type { Command } from 'commander';
import type { PopReport } from '../pop/point-of-presence.js';
import { formatDuration, formatSize } from '../units.js';
import { addNodeFlags, connectDaemon, type NodeFlags } from './connection.js';
import type { Run } from './program.js';

const examples = `
Examples:
  head -c 32 /dev/urandom > /etc/thinfs.secret        # once; the same file on all nodes
  thin daemon restart --pop redis://cache:6379 --pop-secret /etc/thinfs.secret
  thin pop status

The nodes of a site share what any of them has fetched. Redis says who fetches what; the bytes go
from node to node. None of it is needed: what is away is done without, and joined again by itself.`;

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
      process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : popText(report));
    });
}

function popText(report: PopReport | null): string {
  if (!report) return 'this node is in no site (see thin pop --help)\n';
  const { counts, peers, served, shelf, leases } = report;
  const share = (name: string, of: { frames: number; bytes: number }) =>
    `  ${name.padEnd(34)}${String(of.frames).padStart(9)}  ${formatSize(of.bytes)}`;
  const near = counts.shelf.frames + counts.peers.frames;
  const all = near + counts.origin.frames + counts.alone.frames;
  const ratio = all === 0 ? '' : `, ${Math.round((100 * near) / all)} % from the site`;
  return `${[
    report.agreed ? 'Redis answers' : 'Redis does not answer: each node is on its own',
    '',
    'NODE',
    ...report.members.map((member) => `  ${memberText(member, report.node)}`),
    '',
    `FRAMES of this node since it was started${ratio}`,
    share('from its own shelf', counts.shelf),
    share('from other nodes', counts.peers),
    share('from the origin, for the site', counts.origin),
    share('from the origin, without agreement', counts.alone),
    '',
    `given to others: ${formatSize(served.bytes)} in ${served.requests} requests, ${served.busy} turned away, ${served.refused} refused`,
    `asked of others: ${peers.requests} requests, ${peers.hedged} of them besides a late one, ${peers.failures} failed, ${peers.wrong} wrong`,
    `kept for the site: ${shelf.frames} frames, ${formatSize(shelf.bytes)}`,
    `being fetched for the site: ${leases.held}; waiting for other nodes: ${leases.waiting}`,
  ].join('\n')}\n`;
}

function memberText({ node, info, alive, silentMs }: PopReport['members'][number], own: string) {
  const state = alive ? 'alive' : `silent for ${formatDuration(silentMs)}`;
  const up = formatDuration(Date.now() - info.startedAt);
  return `${node}  ${info.host}  ${info.url ?? 'serves nobody'}  ${state}, up ${up}${node === own ? ', this node' : ''}`;
}
