import { writeFileSync } from 'node:fs';
import { mkdtemp, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mount, unmount } from '../../native-bindings/mount-calls.js';
import { fromSystemError } from '../errors.js';
import { mayMount } from './kernel-mount.js';

/** Where systemd mounts the control file system of FUSE; its files belong to who mounted. */
const controlDirectory = '/sys/fs/fuse/connections';

/**
 * Ends a FUSE connection, whatever uses its mount and wherever that is: all requests fail, and
 * reads of the device return. That it is gone already is no error.
 * @param device `major:minor` of the mount
 * @returns false if this user cannot do it here
 */
export async function abortConnection(device: string): Promise<boolean> {
  if (abortNow(device)) return true;
  if (!mayMount()) return false;
  const directory = await mkdtemp(join(tmpdir(), 'thinfs-fusectl-'));
  try {
    await mount({ source: 'fusectl', target: directory, type: 'fusectl' });
    try {
      await writeFile(abortFile(directory, device), '1');
    } catch (error) {
      const failure = fromSystemError('Cannot abort a FUSE connection', error);
      if (failure.code !== 'not-found') throw failure;
    } finally {
      await unmount(directory);
    }
    return true;
  } finally {
    await rmdir(directory);
  }
}

/** As {@link abortConnection}, where the control file system is mounted already. */
export function abortNow(device: string): boolean {
  try {
    writeFileSync(abortFile(controlDirectory, device), '1', { flag: 'r+' });
    return true;
  } catch {
    return false;
  }
}

/** Connections are named by the minor number: FUSE mounts have the major number 0. */
function abortFile(directory: string, device: string): string {
  return join(directory, device.slice(device.indexOf(':') + 1), 'abort');
}
