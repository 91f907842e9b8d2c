import { createRequire } from 'node:module';
import { ThinError } from '../errors.js';
import { unmountPath } from './kernel-mount.js';

/** The part of the fuse-native package that is used; it comes without types. */
export interface NativeStat {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  readonly ino: number;
  readonly rdev: number;
  readonly blocks: number;
  readonly atime: number;
  readonly mtime: number;
  readonly ctime: number;
}

/** As much of Buffer as the package uses, in this order. */
export interface NativeXattrValue {
  copy(target: Buffer): void;
  /** The reply: bytes, or a negative error number. */
  readonly length: number;
}

/** `error`: 0 or a negative error number. */
export type Callback<Result> = (error: number, result?: Result) => void;

/** Paths are absolute in the mount; text is what libfuse's iconv module made of the bytes. */
export interface NativeOperations {
  getattr(path: string, done: Callback<NativeStat>): void;
  readdir(path: string, done: Callback<readonly string[]>): void;
  readlink(path: string, done: Callback<string>): void;
  /** Without a value: there is no such xattr. */
  getxattr(
    path: string,
    name: string,
    position: number,
    done: Callback<NativeXattrValue | undefined>,
  ): void;
  listxattr(path: string, done: Callback<readonly string[]>): void;
  statfs(path: string, done: Callback<Readonly<Record<string, number>>>): void;
  /** The first argument of `done` is the number of bytes read, or a negative error number. */
  read(
    path: string,
    handle: number,
    target: Buffer,
    length: number,
    offset: number,
    done: (result: number) => void,
  ): void;
}

export interface NativeOptions {
  /** Milliseconds for an operation; `false`: no limit. */
  readonly timeout: false;
  readonly allowOther: boolean;
  readonly defaultPermissions: boolean;
  readonly fsname: string;
  readonly subtype: string;
  /** Put into the option string after `modules=`, as it is. */
  readonly modules: string;
}

export interface NativeMount {
  mount(done: (error: Error | null) => void): void;
  unmount(done: (error: Error | null) => void): void;
}

export interface FuseNative {
  new (mountPoint: string, operations: NativeOperations, options: NativeOptions): NativeMount;
  unmount(mountPoint: string, done: (error: Error | null) => void): void;
}

let loaded: FuseNative | undefined;

/**
 * The package, with an `unmount` that says when a mount is in use; its own would detach it.
 * @throws ThinError `unavailable` if it does not work on this machine
 */
export function fuseNative(): FuseNative {
  loaded ??= load();
  return loaded;
}

function load(): FuseNative {
  try {
    const found: FuseNative = createRequire(import.meta.url)('fuse-native');
    found.unmount = (mountPoint, done) => {
      unmountPath(mountPoint).then(() => done(null), done);
    };
    return found;
  } catch (cause) {
    throw new ThinError('unavailable', 'Cannot load fuse-native on this system', { cause });
  }
}
