import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/*
 * The mount API of Linux 5.2, where the kernel says in words what it objects to, and where a layer
 * can be a descriptor. Without it (ENOSYS: an older kernel, a system call filter) the calls throw
 * `unavailable`; mount(2) of mount-calls.ts may still work.
 */

/** A setting of a file system: text, the number of an open descriptor, or `true` for a flag. */
export type MountSetting = readonly [key: string, value: string | number | true];

/** Attributes of one mount, from `linux/mount.h`; `|` joins them. */
export const mountAttributes = { readOnly: 1, noSuid: 2, noDevices: 4, noExecute: 8 } as const;

/** Bytes of a text that fsconfig(2) takes; a longer path is given as a descriptor. */
export const settingBytesMax = 255;

export interface FileSystemMount {
  /** As in /proc/filesystems. */
  readonly type: string;
  readonly settings: readonly MountSetting[];
  readonly target: string;
  /** {@link mountAttributes}, or-ed. */
  readonly attributes?: number;
}

/**
 * Makes a file system and mounts it at `target`, which is not followed if it is a symbolic link.
 * @throws ThinError with the kernel's own words where it has any; `unavailable` without the API or
 *   the file system type, `invalid` for what the file system refuses, `denied`, `not-found`
 */
export async function mountWithSettings(options: FileSystemMount): Promise<void> {
  const { type, settings, target, attributes = 0 } = options;
  const action = `Cannot mount ${type} at ${target}`;
  checkText(action, type, target);
  const encoded = encodeSettings(action, settings);
  try {
    await addon().mountWithSettings(Buffer.from(type), encoded, attributes, Buffer.from(target));
  } catch (error) {
    throw fromNativeError(action, error);
  }
}

/**
 * Changes settings of the file system that is mounted at `target`, for all of its mounts; their
 * attributes stay. @throws ThinError as {@link mountWithSettings}
 */
export async function reconfigureMount(
  target: string,
  settings: readonly MountSetting[],
): Promise<void> {
  const action = `Cannot reconfigure ${target}`;
  checkText(action, target);
  const encoded = encodeSettings(action, settings);
  try {
    await addon().reconfigureMount(Buffer.from(target), encoded);
  } catch (error) {
    throw fromNativeError(action, error);
  }
}

/** Each setting is its kind, key, NUL, value, NUL. */
function encodeSettings(action: string, settings: readonly MountSetting[]): Buffer {
  const parts = settings.map(([key, value]) => {
    checkText(action, key);
    if (value === true) return `f${key}\0\0`;
    if (typeof value === 'number') return `d${key}\0${checkDescriptor(action, value)}\0`;
    checkText(action, value);
    const bytes = Buffer.byteLength(value);
    if (bytes <= settingBytesMax) return `s${key}\0${value}\0`;
    throw new ThinError(
      'invalid',
      `${action}: ${key} has ${bytes} bytes (wanted at most ${settingBytesMax}, or a descriptor)`,
    );
  });
  return Buffer.from(parts.join(''));
}

function checkDescriptor(action: string, descriptor: number): number {
  if (Number.isInteger(descriptor) && descriptor >= 0 && descriptor < 2 ** 31) return descriptor;
  throw new ThinError('invalid', `${action}: ${descriptor} is no descriptor`);
}

function checkText(action: string, ...texts: string[]): void {
  if (!texts.some((text) => text.includes('\0'))) return;
  throw new ThinError('invalid', `${action}: a path or setting holds NUL`);
}
