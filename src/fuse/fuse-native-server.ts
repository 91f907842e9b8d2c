import { fromSystemError, isThinError } from '../errors.js';
import { ErofsImage } from '../metadata/erofs-image.js';
import { ConnectionControl } from './connection.js';
import { guardExit, releaseMount } from './exit-guard.js';
import { fuseNative, type NativeMount } from './fuse-native-module.js';
import { nativeOperations } from './fuse-native-operations.js';
import { detachPath, mountSource, resolveMountPoint } from './kernel-mount.js';
import { findMount } from './mount-table.js';
import { TreeNamespace } from './tree-namespace.js';
import type { TreeServer, TreeServerOptions } from './tree-server.js';

/**
 * What the package has no options for, put behind one that it copies as it is. The module makes
 * names bytes; `use_ino` shows our inode numbers, so that hard links are seen; times in seconds.
 */
const libfuseOptions = [
  'iconv,from_code=UTF-8,to_code=ISO-8859-1',
  'use_ino,kernel_cache',
  'entry_timeout=1000000000,negative_timeout=1000000000,attr_timeout=1000000000',
  'ro,nodev',
];

/**
 * Serves a tree through the fuse-native package (libfuse 2): for users without the addon, whom
 * fusermount can mount for. What it cannot do, compared to the raw server: times before 1970 and
 * below a millisecond, xattr names beyond ASCII, ERANGE for a list of xattrs that is too long, telling when somebody else unmounted it, reads
 * from the tiers in threads of its own; and every operation costs 3 to 16 times as much.
 * @throws ThinError `denied`, `not-found`, `invalid`, `unavailable`
 */
export async function openFuseNativeTree(options: TreeServerOptions): Promise<TreeServer> {
  const mountPoint = await resolveMountPoint(options.mountPoint);
  const namespace = new TreeNamespace(ErofsImage.parse(options.metadata), options.form);
  const stop = new AbortController();
  const { readFile, onReadError, allowOther, setuid = false } = options;
  const operations = nativeOperations({ namespace, readFile, onReadError, signal: stop.signal });
  const Fuse = fuseNative();
  const mount = new Fuse(mountPoint, operations, {
    timeout: false,
    allowOther,
    defaultPermissions: true,
    fsname: mountSource,
    subtype: 'thinfs',
    modules: [...libfuseOptions, setuid ? 'suid' : 'nosuid'].join(','),
  });
  try {
    await settle((done) => mount.mount(done));
  } catch (error) {
    throw fromSystemError(`Cannot mount at ${mountPoint} with fuse-native`, error);
  }
  const device = (await findMount(mountPoint))?.device ?? '';
  return new FuseNativeServer(mountPoint, await ConnectionControl.open(device), mount, stop);
}

class FuseNativeServer implements TreeServer {
  readonly implementation = 'fuse-native';
  readonly mountPoint: string;
  readonly ended: Promise<undefined>;
  readonly #mount: NativeMount;
  readonly #control: ConnectionControl;
  readonly #stop: AbortController;
  readonly #unguard: () => void;
  #end: (value: undefined) => void = () => {};

  constructor(
    mountPoint: string,
    control: ConnectionControl,
    mount: NativeMount,
    stop: AbortController,
  ) {
    this.mountPoint = mountPoint;
    this.#control = control;
    this.#mount = mount;
    this.#stop = stop;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#unguard = guardExit(() =>
      releaseMount({ mountPoint, control, threads: 0, stop: () => stop.abort() }),
    );
  }

  closeFiles(): void {} // none are kept open

  async unmount(): Promise<void> {
    await settle((done) => this.#mount.unmount(done));
    this.#stop.abort();
    this.#unguard();
    this.#control[Symbol.dispose]();
    this.#end(undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.unmount();
    } catch (error) {
      if (!isThinError(error, 'busy')) throw error;
      this.#stop.abort();
      await detachPath(this.mountPoint);
      await this.unmount();
    }
  }
}

function settle(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()));
  });
}
