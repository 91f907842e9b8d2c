import type { Digest } from '../digest.js';
import type { TreeForm } from '../metadata/erofs-image.js';
import type { OnReadError, ReadFile } from './read-forwarder.js';

export interface TreeServerOptions {
  /** Absolute path, without symlinks, of an existing directory. */
  readonly mountPoint: string;
  /** EROFS image of the tree. Not copied if it lies in a SharedArrayBuffer. */
  readonly metadata: Buffer;
  readonly form: TreeForm;
  /** Directories with complete files as `xx/<digest>`, the fastest first. */
  readonly tiers: readonly string[];
  /** Called for every read of a file that is in no tier. */
  readonly readFile: ReadFile;
  /** Told in batches which files of the tiers were used for the first time. */
  readonly onFirstUse: (contents: readonly Digest[]) => void;
  /** Told of every read that a program saw fail. */
  readonly onReadError: OnReadError;
  /** Whether users other than the one who mounts may look. Root only. */
  readonly allowOther: boolean;
  /** Whether setuid bits in the tree have effect. Root only; devices never have one. */
  readonly setuid?: boolean;
}

/**
 * A whole tree, mounted read-only and served by this process. Conformance: `test/fuse`.
 * Disposal takes the mount away in any case: programs that still use it get errors.
 */
export interface TreeServer extends AsyncDisposable {
  readonly mountPoint: string;
  readonly implementation: 'raw' | 'fuse-native';
  /**
   * Resolves when the mount is gone, whoever unmounted it, and everything of it is released; with
   * an error if it broke.
   */
  readonly ended: Promise<Error | undefined>;
  /** Files of the tiers are opened again when they are read next: one may be gone, or wrong. */
  closeFiles(): void;
  /** @throws ThinError `busy` if something uses the mount; it goes on then. */
  unmount(): Promise<void>;
}
