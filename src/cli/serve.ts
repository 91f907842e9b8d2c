import { closeSync, writeSync } from 'node:fs';
import { HolderLink } from '../daemon/holder-link.js';
import { reportVariable, type StartReport } from '../daemon/holder-protocol.js';
import { describeError, isThinError, ThinError } from '../errors.js';
import { configOf, type NodeFlags } from './connection.js';
import { packageVersion, type Run } from './program.js';

/** Standard descriptor 3: where the command that started us waits for a {@link StartReport}. */
const reportDescriptor = 3;

/** `thin daemon serve`: the server, which a holder starts, or which starts its own. */
export async function serveNode(flags: NodeFlags, run: Run): Promise<void> {
  const report = startReporter();
  const link = HolderLink.open(process.argv.slice(4));
  try {
    const { Daemon } = await import('../daemon/daemon.js');
    await using daemon = await Daemon.open(configOf(flags), packageVersion());
    link.onStop(async (order) => daemon.requestStop(order));
    await link.ready();
    report({ ready: true });
    await daemon.stopped(run.signal);
  } catch (error) {
    const code = isThinError(error) ? error.code : 'unavailable';
    const message = describeError(error);
    link.failed(code, message);
    report({ ready: false, code, message });
    throw error instanceof ThinError ? error : new ThinError('unavailable', message);
  }
  await link.leave();
}

/** Says it once; a server that a holder started has no command to tell. */
function startReporter(): (report: StartReport) => void {
  const wanted = process.env[reportVariable] !== undefined;
  // Its children are started by others.
  delete process.env[reportVariable];
  let told = !wanted;
  return (report) => {
    if (told) return;
    told = true;
    try {
      writeSync(reportDescriptor, JSON.stringify(report));
      closeSync(reportDescriptor);
    } catch {
      // The command that started us has given up waiting; we serve the next one.
    }
  };
}
