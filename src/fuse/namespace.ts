import type { ByteString } from '../byte-string.js';
import type { Digest } from '../digest.js';
import type { Time } from '../image/tree.js';

/** What the kernel keeps of one inode. */
export interface NodeAttributes {
  /** `st_ino`, below 2^53. */
  readonly inode: number;
  /** 32 bits that tell apart what has the same node id at different times. */
  readonly generation: number;
  /** Type and permission bits, as `st_mode`. */
  readonly mode: number;
  readonly size: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** A device's number as the kernel encodes it in 32 bits; 0 for everything else. */
  readonly rdev: number;
  /** Shown as all three times. */
  readonly mtime: Time;
}

/** A name in a directory. `node` is absent for `.` and `..`. */
export interface NamespaceEntry {
  readonly name: ByteString;
  readonly inode: number;
  /** As `d_type` of readdir(3). */
  readonly type: number;
  readonly node: number | undefined;
}

/** The bytes of a regular file that is not empty. */
export interface FileContent {
  readonly content: Digest;
  readonly size: number;
  /** The image that says so, where the namespace has files of several. */
  readonly image?: Digest;
}

/**
 * A read-only set of files by node id that never change: what the kernel is shown. Node ids are a
 * fixed function of what they name, so that nothing has to be remembered for the kernel: a server
 * that starts again means the same files by them. The root's is 1.
 *
 * No method waits. All throw ThinError `not-found` if there is no such node, `invalid` if it is of
 * another type, and `corrupt` for damaged metadata.
 */
export interface Namespace {
  /** Whether the kernel may remember that a name does not exist. */
  readonly absentNames: 'stay absent' | 'may come';
  attributes(node: number): NodeAttributes;
  /** The node of a name in a directory, `..` included. Absent: there is no such name. */
  lookup(directory: number, name: ByteString): number | undefined;
  /** All names, `.` and `..` included, always in the same order. */
  entries(directory: number): readonly NamespaceEntry[];
  symlinkTarget(node: number): ByteString;
  /** Where nothing in the namespace has any, the method is missing. */
  xattrs?(node: number): ReadonlyMap<ByteString, Buffer>;
  /** Absent: not a regular file, or an empty one. */
  file(node: number): FileContent | undefined;
  /** For statfs(2): inodes, and bytes that they take. */
  statistics(): { readonly inodes: number; readonly bytes: number };
}
