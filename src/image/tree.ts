import type { ByteString } from '../byte-string.js';
import type { Digest } from '../digest.js';

/** Seconds since 1970, negative before it, and 0 to 999 999 999 nanoseconds after that second. */
export interface Time {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface Device {
  readonly major: number;
  readonly minor: number;
}

/** What every inode has. `mode` is the permission bits with setuid, setgid and sticky (07777). */
export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Time;
  /** By full name (`user.x`, `security.capability`, `trusted.overlay.opaque`), unescaped. */
  readonly xattrs: ReadonlyMap<ByteString, Buffer>;
}

/**
 * An inode of a merged tree. Hard links are several names for the same object. An empty file has
 * size 0 and the digest of no bytes.
 */
export type TreeNode =
  | DirectoryNode
  | (Attributes & { readonly type: 'file'; readonly size: number; readonly content: Digest })
  | (Attributes & { readonly type: 'symlink'; readonly target: ByteString })
  | (Attributes & { readonly type: 'character' | 'block'; readonly device: Device })
  | (Attributes & { readonly type: 'fifo' })
  | (Attributes & { readonly type: 'socket' });

export interface DirectoryNode extends Attributes {
  readonly type: 'directory';
  readonly children: Map<ByteString, TreeNode>;
}

export type NodeType = TreeNode['type'];
export type FileNode = Extract<TreeNode, { type: 'file' }>;
