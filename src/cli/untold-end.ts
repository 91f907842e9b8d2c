import { setTimeout as delay } from 'node:timers/promises';
import type { NodeFolders } from '../config.js';
import { readContainer } from '../daemon/container-record.js';
import { isListening } from '../daemon/holder-client.js';

/** Milliseconds in which a holder starts another server or has ended, and between two looks. */
const turnMs = 2000;
const lookMs = 20;

/**
 * Whether a daemon is still to be told how a container ended, where none could be: not of one that was
 * ended by who ended the daemon too, and would start another one on what is being cleaned up.
 * @param bundle of the container
 */
export async function isUntold(
  { socket, holderSocket }: NodeFolders,
  bundle: string,
): Promise<boolean> {
  const deadline = performance.now() + turnMs;
  while (performance.now() < deadline && !(await isWrittenDown(bundle))) {
    if ((await isListening(socket)) || !(await isListening(holderSocket))) break;
    await delay(lookMs);
  }
  return !(await isWrittenDown(bundle));
}

/** A record that cannot be read is for a daemon to tell of. */
async function isWrittenDown(bundle: string): Promise<boolean> {
  try {
    const record = await readContainer(bundle);
    return record?.exitCode !== undefined || record === undefined;
  } catch {
    return false;
  }
}
