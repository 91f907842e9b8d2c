import { closeSync } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { addon } from '../../native-bindings/addon.js';
import { mount, mountFlags, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import { receiveFd, socketPair } from '../../native-bindings/socket.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { openDevice } from './device.js';
import { readBytesMax } from './protocol.js';
import { type ProgramOptions, type ProgramResult, runProgram } from './run-program.js';

/** Type of our mounts in the mount table; `fuse.` and a subtype is what df and findmnt know. */
export const mountType = 'fuse.thinfs';
/** Source of our mounts in the mount table. */
export const mountSource = 'thinfs';

export interface KernelMountOptions {
  readonly mountPoint: string;
  readonly allowOther: boolean;
  readonly setuid: boolean;
}

/**
 * True if this process mounts by mount(2): root, with the addon. Otherwise fusermount does it, which
 * is setuid root.
 */
export function mayMount(): boolean {
  if (process.geteuid?.() !== 0) return false;
  try {
    addon();
    return true;
  } catch {
    return false;
  }
}

/**
 * Mounts a new FUSE connection. Always read-only and `nodev`: a device node of an image can be seen
 * and never opened through the tree. The kernel checks permissions (`default_permissions`).
 * @returns the descriptor of the connection, whose first request is INIT
 * @throws ThinError `denied`, `not-found`, `unavailable`
 */
export function mountFuse(options: KernelMountOptions): Promise<number> {
  return mayMount() ? mountAsRoot(options) : mountAsUser(options);
}

async function mountAsRoot(options: KernelMountOptions): Promise<number> {
  const device = openDevice();
  try {
    await mountDevice(device, options);
    return device;
  } catch (error) {
    closeSync(device);
    throw error;
  }
}

/**
 * Mounts the connection of an open descriptor that was never mounted. Root only.
 * @throws ThinError `denied`, `not-found`
 */
export async function mountDevice(device: number, options: KernelMountOptions): Promise<void> {
  const { mountPoint, allowOther, setuid } = options;
  const settings = [
    `fd=${device},rootmode=40000,user_id=0,group_id=0,default_permissions`,
    `max_read=${readBytesMax}`,
    ...(allowOther ? ['allow_other'] : []),
  ];
  const { readOnly, noDevices, noSuid } = mountFlags;
  await mount({
    source: mountSource,
    target: mountPoint,
    type: mountType,
    flags: readOnly | noDevices | (setuid ? 0 : noSuid),
    data: settings.join(','),
  });
}

/**
 * fusermount opens and mounts the device and sends it over a socket. It adds nosuid and nodev.
 * @see https://github.com/libfuse/libfuse/blob/fuse-3.14.0/util/fusermount.c
 */
async function mountAsUser(options: KernelMountOptions): Promise<number> {
  const settings = [
    'ro,nodev,nosuid,default_permissions',
    `max_read=${readBytesMax},subtype=thinfs,fsname=${mountSource}`,
  ];
  const [ours, theirs] = socketPair();
  try {
    const args = ['-o', settings.join(','), '--', options.mountPoint];
    const { code, stderr } = await runFusermount(args, {
      descriptors: [theirs],
      env: { _FUSE_COMMFD: '3' },
    });
    if (code === 0) return await receiveFd(ours);
    throw new ThinError('denied', `Cannot mount at ${options.mountPoint}: ${stderr}`);
  } finally {
    closeSync(ours);
    closeSync(theirs);
  }
}

/**
 * The mount point's real path, as the mount table will have it.
 * @throws ThinError `not-found`, `invalid` if it is no directory
 */
export async function resolveMountPoint(path: string): Promise<string> {
  let real: string;
  try {
    real = await realpath(path);
    if ((await stat(real)).isDirectory()) return real;
  } catch (error) {
    throw fromSystemError(`Cannot mount at ${path}`, error);
  }
  throw new ThinError('invalid', `Cannot mount at ${path}: it is no directory`);
}

/**
 * Takes a mount away, if nothing uses it. That it is not there any more is no error.
 * @throws ThinError `busy`
 */
export async function unmountPath(mountPoint: string): Promise<void> {
  if (!mayMount()) return unmountAsUser(mountPoint, []);
  try {
    await unmount(mountPoint, unmountFlags.noFollow);
  } catch (error) {
    if (isThinError(error, 'busy')) throw inUse(mountPoint);
    if (!isGone(error)) throw error;
  }
}

/**
 * Takes a mount out of the directory tree although it is in use. As root a FUSE connection is ended
 * as well, so that programs that wait for an answer get an error.
 */
export async function detachPath(mountPoint: string): Promise<void> {
  if (!mayMount()) return unmountAsUser(mountPoint, ['-z']);
  const { force, detach, noFollow } = unmountFlags;
  try {
    await unmount(mountPoint, force | detach | noFollow);
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** umount2(2) of what is no mount point is EINVAL. */
function isGone(error: unknown): boolean {
  return isThinError(error, 'invalid', 'not-found');
}

async function unmountAsUser(mountPoint: string, flags: readonly string[]): Promise<void> {
  const { code, stderr } = await runFusermount(['-u', ...flags, '--', mountPoint]);
  if (code === 0 || isNotMounted(stderr)) return;
  if (/busy/i.test(stderr)) throw inUse(mountPoint);
  throw new ThinError('unavailable', `Cannot unmount ${mountPoint}: ${stderr}`);
}

function inUse(mountPoint: string): ThinError {
  return new ThinError(
    'busy',
    `Cannot unmount ${mountPoint}: something uses it (wanted no open file, working directory or ` +
      `mount below it; see: fuser -vm ${mountPoint})`,
  );
}

function isNotMounted(stderr: string): boolean {
  return /not found in|invalid argument|no such file/i.test(stderr);
}

/** Names of the program that mounts for users: of libfuse 3, and of 2. */
export const fusermountPrograms = ['fusermount3', 'fusermount'] as const;

async function runFusermount(
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  for (const program of fusermountPrograms) {
    try {
      return await runProgram(program, args, options);
    } catch (error) {
      if (!isThinError(error, 'not-found')) throw error;
    }
  }
  throw new ThinError(
    'not-found',
    'Cannot mount without root: there is no fusermount3 (wanted the package fuse3)',
  );
}
