import type { Command } from 'commander';
import { askDaemon } from '../daemon/holder-client.js';
import type { HolderStatus } from '../daemon/holder-protocol.js';
import { isThinError } from '../errors.js';
import { formatDuration } from '../units.js';
import {
  addDaemonFlags,
  addNodeFlags,
  configOf,
  connectDaemon,
  type NodeFlags,
  serverSettings,
} from './connection.js';
import { cleanUp } from './daemon-cleanup.js';
import { holderEnd } from './holder-end.js';
import { runHolderProgram } from './holder-program.js';
import type { Run } from './program.js';

const examples = `
Examples:
  thin daemon restart                    # after an upgrade: the programs of this thin take over
  thin daemon restart --cache-size 50G   # flags stay until they are given again
  thin daemon status --json
  thin daemon cleanup --force --purge    # ends containers and mounts, and deletes the state

A small process, the holder, keeps the server running and holds what mounts live by: a container
goes on reading while the server is away, and does not notice when it comes back.`;

export function addDaemonCommands(program: Command, run: Run): void {
  const daemon = program
    .command('daemon')
    .description(
      'The processes that own the cache and answer mounts; commands start them on demand',
    )
    .addHelpText('after', examples);
  addDaemonFlags(daemon.command('run'))
    .description('Run the daemon in the foreground; logs go to standard error as JSON lines')
    .option('--wait', 'where another daemon has the root, wait for its end (for service managers)')
    .action(() => runHolderProgram(process.argv));
  addDaemonFlags(daemon.command('serve', { hidden: true })).action(async (flags: NodeFlags) => {
    const { serveNode } = await import('./serve.js');
    await serveNode(flags, run);
  });
  addDaemonFlags(daemon.command('start'))
    .description('Start the daemon in the background, if it does not run')
    .action(async (flags: NodeFlags) => {
      await connectDaemon(flags, run.signal);
    });
  addNodeFlags(daemon.command('stop'))
    .description('Stop the daemon; mounts that can go on without it do')
    .option('-f, --force', 'end the mounts that cannot', false)
    .action((flags: NodeFlags & { force: boolean }) => stopDaemon(flags, run.signal));
  addDaemonFlags(daemon.command('restart'))
    .description('Start it anew with this program and the flags given, as an upgrade does')
    .option('-f, --force', 'end the mounts that cannot go on meanwhile', false)
    .action((flags: NodeFlags & { force: boolean }) => restartDaemon(flags, run.signal));
  addNodeFlags(daemon.command('status'))
    .description('Whether it runs, and how it has been; starts nothing')
    .option('--json', 'as JSON')
    .action(async (flags: NodeFlags & { json?: boolean }) => {
      const { signal } = run;
      const status = await askDaemon(configOf(flags), { op: 'status' }, signal);
      const { settings, ...shown } = status;
      const json = JSON.stringify({ ...shown, program: settings.program, flags: settings.flags });
      process.stdout.write(flags.json ? `${json}\n` : describeHolder(status));
    });
  for (const [name, paused] of [
    ['pause', true],
    ['resume', false],
  ] as const) {
    addNodeFlags(daemon.command(name))
      .description(`${paused ? 'Hold up' : 'Go on with'} fetching the rest of mounted images`)
      .action(async (flags: NodeFlags) => {
        const client = await connectDaemon(flags, run.signal);
        await client.call('pause', { paused }, { signal: run.signal });
      });
  }
  addNodeFlags(daemon.command('cleanup'))
    .description('Unmount everything of this node and stop the daemon')
    .option('-f, --force', 'also what is in use, and running containers', false)
    .option('--purge', "delete the node's state too: cache, images, containers", false)
    .action((flags: NodeFlags & { force: boolean; purge: boolean }) => {
      return cleanUp(configOf(flags), serverSettings(flags), flags, run.signal);
    });
}

async function stopDaemon(
  flags: NodeFlags & { force: boolean },
  signal: AbortSignal,
): Promise<void> {
  const config = configOf(flags);
  const stop = { op: 'stop', force: flags.force, unmount: false } as const;
  const status = await askDaemon(config, stop, signal).catch(undefinedIfNone);
  if (status?.needed) {
    process.stderr.write('mounts go on; what they need and is not here waits for the daemon\n');
  } else if (status) {
    await holderEnd(config.holderSocket, signal);
  }
}

async function restartDaemon(
  flags: NodeFlags & { force: boolean },
  signal: AbortSignal,
): Promise<void> {
  const restart = { op: 'restart', settings: serverSettings(flags), force: flags.force } as const;
  const status = await askDaemon(configOf(flags), restart, signal).catch(undefinedIfNone);
  if (!status) await connectDaemon(flags, signal);
}

/** No daemon runs. */
function undefinedIfNone(error: unknown): undefined {
  if (!isThinError(error, 'not-found')) throw error;
}

const phases: Readonly<Record<HolderStatus['phase'], string>> = {
  starting: 'is starting',
  serving: 'serves',
  stopped: 'is stopped',
  waiting: 'has died and is started again',
  degraded: 'keeps dying and is tried again now and then',
};

function describeHolder(status: HolderStatus): string {
  const { phase, serverPid, retryAt, crashes, lastError, needed } = status;
  const retry =
    retryAt === undefined ? '' : `, in ${formatDuration(Math.max(0, retryAt - Date.now()))}`;
  const pid = serverPid === undefined ? '' : ` (pid ${serverPid})`;
  const since = formatDuration(Date.now() - status.startedAt);
  return [
    `the server${pid} ${phases[phase]}${retry}`,
    `held by pid ${status.pid} since ${since}${needed ? ', as mounts need it' : ''}`,
    `deaths of the server: ${crashes}${lastError === undefined ? '' : `; the last: ${lastError}`}`,
    `flags: ${Object.values(status.settings.flags).flat().join(' ')}`,
    '',
  ].join('\n');
}
