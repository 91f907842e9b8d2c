import { closeSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { ControlClient } from '../daemon/control-client.js';
import { isListening, type StartReport } from '../daemon/start-daemon.js';
import { describeError, isThinError, ThinError } from '../errors.js';
import { addNodeFlags, configOf, connectDaemon, type NodeFlags } from './connection.js';
import { packageVersion, type Run } from './program.js';

export function addDaemonCommands(program: Command, run: Run): void {
  const daemon = program
    .command('daemon')
    .description('The process that owns the cache and answers mounts; commands start it on demand');
  addNodeFlags(daemon.command('run'))
    .description('Run the daemon in the foreground; logs go to standard error as JSON lines')
    .action(async (flags: NodeFlags) => runDaemon(flags, run));
  addNodeFlags(daemon.command('start'))
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
      await client.call('stop', { force: flags.force }, { signal: run.signal });
    });
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
