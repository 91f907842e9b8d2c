import { closeSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { logLevels } from '../config.js';
import { ControlClient } from '../daemon/control-client.js';
import { isListening, type StartReport } from '../daemon/start-daemon.js';
import { describeError, isThinError, ThinError } from '../errors.js';
import { addNodeFlags, configOf, connectDaemon, type NodeFlags } from './connection.js';
import { packageVersion, type Run } from './program.js';

function addDaemonFlags(command: Command): Command {
  return addNodeFlags(command)
    .option(
      '--metrics <[host:]port>',
      'serve GET /metrics there too (default: control socket only)',
    )
    .option('--log-level <level>', `${logLevels.join(', ')} (default: info)`);
}

export function addDaemonCommands(program: Command, run: Run): void {
  const daemon = program
    .command('daemon')
    .description('The process that owns the cache and answers mounts; commands start it on demand');
  addDaemonFlags(daemon.command('run'))
    .description('Run the daemon in the foreground; logs go to standard error as JSON lines')
    .action(async (flags: NodeFlags) => runDaemon(flags, run));
  addDaemonFlags(daemon.command('start'))
    .description('Start the daemon in the background, if it does not run')
    .action(async (flags: NodeFlags) => {
      await connectDaemon(flags, run.signal);
    });
  addNodeFlags(daemon.command('stop'))
    .description('Stop the daemon')
    .option('-f, --force', 'unmount what is mounted first', false)
    .action(async (flags: NodeFlags & { force: boolean }) => {
      const { socket } = configOf(flags);
      if (!(await isListening(socket))) return;
      const client = new ControlClient(socket);
      const { pid } = await client.call('status', {}, { signal: run.signal });
      await client.call('stop', { force: flags.force }, { signal: run.signal });
      await processEnd(pid, run.signal);
    });
}

/** Milliseconds between two looks at a process that is not our child, and for it to end. */
const endPollMs = 20;
const endDeadlineMs = 60_000;

/** When this returns, another daemon can take the root over. */
async function processEnd(pid: number, signal: AbortSignal): Promise<void> {
  for (let waited = 0; waited < endDeadlineMs; waited += endPollMs) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await delay(endPollMs, undefined, { signal });
  }
  throw new ThinError('busy', `Cannot stop the daemon: process ${pid} has not ended yet`);
}

/** Standard descriptor 3: where the command that started us waits for a {@link StartReport}. */
const reportDescriptor = 3;

async function runDaemon(flags: NodeFlags, run: Run): Promise<void> {
  const { Daemon } = await import('../daemon/daemon.js');
  try {
    await using daemon = await Daemon.open(configOf(flags), packageVersion());
    report({ ready: true });
    await daemon.stopped(run.signal);
  } catch (error) {
    const code = isThinError(error) ? error.code : 'unavailable';
    report({ ready: false, code, message: describeError(error) });
    throw error instanceof ThinError ? error : new ThinError('unavailable', describeError(error));
  }
}

/** Says it once; a daemon that was started by hand has nobody to tell. */
function report(message: StartReport): void {
  if (process.env.THINFS_START_REPORT !== '1') return;
  delete process.env.THINFS_START_REPORT;
  try {
    writeSync(reportDescriptor, JSON.stringify(message));
    closeSync(reportDescriptor);
  } catch {
    // The command that started us has given up waiting; we serve the next one.
  }
}
