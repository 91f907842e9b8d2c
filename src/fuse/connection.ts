import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debuglog } from 'node:util';
import { mount, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import { describeError, fromSystemError } from '../errors.js';
import { mayMount } from './kernel-mount.js';

const debug = debuglog('thinfs:fuse');

/** Where systemd mounts the control file system of FUSE; its files belong to who mounted. */
const controlDirectory = '/sys/fs/fuse/connections';

/**
 * Means to end one FUSE connection, whatever uses its mount and wherever that is. It is had while the
 * mount is there: later another connection may have its number, as numbers are given again at once.
 */
export class ConnectionControl implements Disposable {
  /** The connection's `abort`: what is written there when it has ended does nothing. */
  #file: number | undefined;

  /** Never fails: who cannot have it can do without. @param device `major:minor` of the mount */
  static async open(device: string): Promise<ConnectionControl> {
    const file = openAbort(controlDirectory, device);
    if (file !== undefined || !mayMount()) return new ConnectionControl(file);
    return new ConnectionControl(await openOwn(device).catch(() => undefined));
  }

  private constructor(file: number | undefined) {
    this.#file = file;
  }

  /**
   * All requests fail, and reads of the device return. That it has ended already is no error.
   * @returns false if this user cannot do it here
   */
  abort(): boolean {
    if (this.#file === undefined) return false;
    writeSync(this.#file, '1');
    return true;
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

/** Where the control file system is not mounted: by a mount of our own, for the moment. */
async function openOwn(device: string): Promise<number | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'thinfs-fusectl-'));
  try {
    await mount({ source: 'fusectl', target: directory, type: 'fusectl' });
    const file = openAbort(directory, device);
    // The file keeps it busy.
    await unmount(directory, unmountFlags.detach).catch((error: unknown) => {
      debug(
        '%s',
        describeError(fromSystemError(`Cannot unmount ${directory}, which stays`, error)),
      );
    });
    return file;
  } finally {
    await rmdir(directory).catch(() => undefined);
  }
}

/** Connections are named by the minor number: FUSE mounts have the major number 0. */
function openAbort(directory: string, device: string): number | undefined {
  try {
    const path = join(directory, device.slice(device.indexOf(':') + 1), 'abort');
    return openSync(path, constants.O_WRONLY);
  } catch {
    return undefined;
  }
}
