import type { ByteString } from '../byte-string.js';
import { isThinError, ThinError } from '../errors.js';
import { errnoOf, errnoOfNamespace } from './errno.js';
import type {
  Callback,
  NativeOperations,
  NativeStat,
  NativeXattrValue,
} from './fuse-native-module.js';
import type { FileContent, Namespace } from './namespace.js';
import { errno, rootNode } from './protocol.js';
import type { OnReadError, ReadFile } from './read-forwarder.js';

export interface NativeOperationsOptions {
  readonly namespace: Required<Namespace>;
  readonly readFile: ReadFile;
  readonly onReadError: OnReadError;
  /** Ends the reads that are under way. */
  readonly signal: AbortSignal;
}

/**
 * The operations of fuse-native over a namespace, by path. With libfuse's iconv module each
 * character of a path is one byte, so that a path is a {@link ByteString}.
 */
export function nativeOperations(options: NativeOperationsOptions): NativeOperations {
  const { namespace } = options;
  const nodeOf = (path: string) => findNode(namespace, path);
  return {
    getattr: (path, done) => answer(done, () => statOf(namespace, nodeOf(path))),
    readdir: (path, done) => answer(done, () => namesIn(namespace, nodeOf(path))),
    readlink: (path, done) => answer(done, () => namespace.symlinkTarget(nodeOf(path))),
    getxattr: (path, name, _, done) =>
      answer(done, () => {
        const value = namespace.xattrs(nodeOf(path)).get(name as ByteString);
        return value && new XattrReply(value);
      }),
    listxattr: (path, done) => answer(done, () => [...namespace.xattrs(nodeOf(path)).keys()]),
    statfs: (_, done) => answer(done, () => statisticsOf(namespace)),
    read: (path, _, target, length, offset, done) => {
      const file = answerable(() => namespace.file(nodeOf(path)));
      if (typeof file === 'number') return done(-file);
      void read(options, file, target.subarray(0, length), offset).then(done);
    },
  };
}

/** Refuses a buffer that is too small, which the package would claim to have filled. */
class XattrReply implements NativeXattrValue {
  readonly #value: Buffer;
  #length: number;

  constructor(value: Buffer) {
    this.#value = value;
    this.#length = value.length;
  }

  copy(target: Buffer): void {
    if (target.length > 0 && target.length < this.#value.length) this.#length = -errno.ERANGE;
    else this.#value.copy(target);
  }

  get length(): number {
    return this.#length;
  }
}

/** The node at a path, component by component: libfuse has resolved symlinks. */
function findNode(namespace: Namespace, path: string): number {
  let node = rootNode;
  for (const name of path.split('/')) {
    if (name === '') continue;
    const next = namespace.lookup(node, name as ByteString);
    if (next === undefined) throw new ThinError('not-found', `Cannot find ${path}`);
    node = next;
  }
  return node;
}

function answer<Result>(done: Callback<Result>, make: () => Result): void {
  const result = answerable(make);
  if (typeof result === 'number') done(-result);
  else done(0, result);
}

/** What `make` returns, or the error number for what it throws. */
function answerable<Result>(make: () => Result): Result | number {
  try {
    return make();
  } catch (error) {
    return isThinError(error, 'not-found') ? errno.ENOENT : errnoOfNamespace(error);
  }
}

function namesIn(namespace: Namespace, node: number): string[] {
  return namespace.entries(node).map(({ name }) => name);
}

/** Times are unsigned milliseconds in this package: 1970 for what was before. */
function statOf(namespace: Namespace, node: number): NativeStat {
  const attributes = namespace.attributes(node);
  const { seconds, nanoseconds } = attributes.mtime;
  const time = Math.max(0, seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
  return {
    mode: attributes.mode,
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.size,
    nlink: attributes.nlink,
    ino: attributes.inode,
    rdev: attributes.rdev,
    blocks: Math.ceil(attributes.size / 512),
    atime: time,
    mtime: time,
    ctime: time,
  };
}

function statisticsOf(namespace: Namespace): Record<string, number> {
  const { inodes, bytes } = namespace.statistics();
  const blockBytes = 4096;
  return {
    bsize: blockBytes,
    frsize: blockBytes,
    blocks: Math.ceil(bytes / blockBytes),
    files: inodes,
    namemax: 255,
  };
}

/** Bytes read, or minus an error number. Never rejects. */
async function read(
  options: NativeOperationsOptions,
  file: FileContent | undefined,
  target: Buffer,
  offset: number,
): Promise<number> {
  const length = Math.min(target.length, (file?.size ?? 0) - offset);
  if (!file || length <= 0) return 0;
  const { readFile, onReadError, signal } = options;
  try {
    const bytes = await readFile(file.content, file.size, offset, length, signal);
    if (bytes.length === length) return bytes.copy(target);
    throw new ThinError(
      'corrupt',
      `Cannot read ${file.content} at ${offset}: got ${bytes.length} bytes (wanted ${length})`,
    );
  } catch (error) {
    if (!signal.aborted) onReadError(error, file.content);
    return -errnoOf(error);
  }
}
