import { closeSync } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
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

/** True if this process mounts by mount(2), false if it needs fusermount, which is setuid root. */
export function mayMount(): boolean {
  return process.geteuid?.() === 0;
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

/** mount(8) inherits the descriptor as 3, so that no addon is needed. */
async function mountAsRoot(options: KernelMountOptions): Promise<number> {
  const device = openDevice();
  const settings = [
    ...['ro', 'nodev', options.setuid ? 'suid' : 'nosuid'],
    'fd=3,rootmode=40000,user_id=0,group_id=0,default_permissions',
    `max_read=${readBytesMax}`,
    ...(options.allowOther ? ['allow_other'] : []),
  ];
  const args = ['-i', '-c', '-t', mountType, '-o', settings.join(','), mountSource];
  try {
    const { code, stderr } = await runProgram('mount', [...args, options.mountPoint], {
      descriptors: [device],
    });
    if (code === 0) return device;
    throw new ThinError('unavailable', `Cannot mount at ${options.mountPoint}: ${stderr}`);
  } catch (error) {
    closeSync(device);
    throw error;
  }
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
  const { code, stderr } = mayMount()
    ? await runProgram('umount', ['-i', '-c', mountPoint])
    : await runFusermount(['-u', '--', mountPoint]);
  if (code === 0 || isNotMounted(stderr)) return;
  if (!/busy/i.test(stderr)) {
    throw new ThinError('unavailable', `Cannot unmount ${mountPoint}: ${stderr}`);
  }
  throw new ThinError(
    'busy',
    `Cannot unmount ${mountPoint}: something uses it (wanted no open file, working directory or ` +
      `mount below it; see: fuser -vm ${mountPoint})`,
  );
}

/**
 * Takes a mount out of the directory tree although it is in use. As root its connection is ended
 * as well, so that programs that wait for an answer get an error.
 */
export async function detachPath(mountPoint: string): Promise<void> {
  const { code, stderr } = mayMount()
    ? await runProgram('umount', detachArguments(mountPoint))
    : await runFusermount(['-u', '-z', '--', mountPoint]);
  if (code === 0 || isNotMounted(stderr)) return;
  throw new ThinError('unavailable', `Cannot detach ${mountPoint}: ${stderr}`);
}

/** As {@link detachPath}, of umount(8) for root: `-f` ends a FUSE connection. */
export function detachArguments(mountPoint: string): string[] {
  return ['-i', '-c', '-f', '-l', mountPoint];
}

function isNotMounted(stderr: string): boolean {
  return /not mounted|no mount point|not found in|invalid argument/i.test(stderr);
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
