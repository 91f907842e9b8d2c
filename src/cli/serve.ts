import { closeSync, writeSync } from 'node:fs';
import type { HeldDevice } from '../daemon/composer.js';
import { HolderLink } from '../daemon/holder-link.js';
import { reportVariable, type StartReport } from '../daemon/holder-protocol.js';
import { describeError, isThinError, ThinError } from '../errors.js';
import { loadRegistries } from '../store/open-store.js';
import { configOf, type NodeFlags } from './connection.js';
import { exitCodes } from './exit-code.js';
import { packageVersion, type Run } from './program.js';

/** Standard descriptor 3: where the command that started us waits for a {@link StartReport}. */
const reportDescriptor = 3;

/** `thin daemon serve`: the server, which a holder starts, or which starts its own. */
export async function serveNode(flags: NodeFlags, run: Run): Promise<void> {
  const report = startReporter();
  const link = HolderLink.open(process.argv.slice(4));
  let end: { readonly restart: boolean; readonly renew: boolean };
  try {
    const { Daemon } = await import('../daemon/daemon.js');
    const device = link.device === undefined ? undefined : heldDevice(link, link.device);
    await using daemon = await Daemon.open(configOf(flags), packageVersion(), device);
    link.onStop(async (order) => daemon.requestStop(order));
    link.ready();
    report({ ready: true });
    await loadRegistries();
    end = await daemon.stopped(run.signal);
  } catch (error) {
    const code = isThinError(error) ? error.code : 'unavailable';
    const message = describeError(error);
    link.failed(code, message);
    report({ ready: false, code, message });
    throw isThinError(error) ? error : new ThinError('unavailable', message);
  }
  // Whoever ends without a word is started again.
  if (end.restart && !end.renew) run.setExitCode(exitCodes.unavailable);
  else await link.leave(end.renew);
}

function heldDevice(link: HolderLink, descriptor: number): HeldDevice {
  return { descriptor, needed: (isNeeded) => link.needDevice(isNeeded) };
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
