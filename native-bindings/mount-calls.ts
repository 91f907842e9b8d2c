import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Flags of mount(2), from `linux/mount.h`. */
export const mountFlags = {
  readOnly: 1,
  noSuid: 2,
  noDevices: 4,
  noExecute: 8,
  remount: 32,
  noAtime: 1024,
  bind: 4096,
  move: 8192,
  recursive: 16_384,
  private: 1 << 18,
  slave: 1 << 19,
} as const;

/** Flags of umount2(2). */
export const unmountFlags = { force: 1, detach: 2, expire: 4, noFollow: 8 } as const;

export interface MountOptions {
  readonly source: string;
  readonly target: string;
  /** As in /proc/filesystems; empty for bind and propagation changes. */
  readonly type: string;
  /** {@link mountFlags}, or-ed. */
  readonly flags?: number;
  /** What follows `-o` and is no flag; at most a page. */
  readonly data?: string;
}

/**
 * mount(2).
 * @throws ThinError `denied` without the privilege, `not-found`, `busy`, `invalid`
 */
export async function mount(options: MountOptions): Promise<void> {
  const { source, target, type, flags = 0, data = '' } = options;
  checkText(source, target, type, data);
  checkFlags(flags);
  const bytes = (text: string) => Buffer.from(text);
  try {
    await addon().mount(bytes(source), bytes(target), bytes(type), flags, bytes(data));
  } catch (error) {
    throw fromNativeError(`Cannot mount ${type || source} at ${target}`, error);
  }
}

/** umount2(2). @param flags {@link unmountFlags}, or-ed */
export async function unmount(target: string, flags = 0): Promise<void> {
  checkText(target);
  checkFlags(flags);
  try {
    await addon().unmount(Buffer.from(target), flags);
  } catch (error) {
    throw fromNativeError(`Cannot unmount ${target}`, error);
  }
}

function checkText(...texts: string[]): void {
  if (texts.some((text) => text.includes('\0'))) {
    throw new ThinError('invalid', 'Cannot mount: a path or option holds NUL');
  }
}

function checkFlags(flags: number): void {
  if (!Number.isInteger(flags) || flags < 0 || flags >= 2 ** 31) {
    throw new ThinError('invalid', `Cannot mount: flags are ${flags} (wanted a 31-bit number)`);
  }
}
