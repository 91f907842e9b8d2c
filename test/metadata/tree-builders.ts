import { type ByteString, byteStringFromText } from '../../src/byte-string.js';
import { digestOf } from '../../src/digest.js';
import type { Attributes, DirectoryNode, FileNode, TreeNode } from '../../src/image/tree.js';

/** Short ways to write trees in tests. */
type Given = Partial<Omit<Attributes, 'xattrs'>> & { xattrs?: Record<string, string | Buffer> };

export function bytes(text: string): ByteString {
  return text as ByteString;
}

function attributes(mode: number, { xattrs = {}, ...given }: Given): Attributes {
  const pairs = Object.entries(xattrs).map(([name, value]): [ByteString, Buffer] => [
    byteStringFromText(name),
    Buffer.from(value),
  ]);
  const mtime = { seconds: 1_700_000_000, nanoseconds: 0 };
  return { mode, uid: 0, gid: 0, mtime, ...given, xattrs: new Map(pairs) };
}

/** A file with this text. */
export function file(text = '', given: Given = {}): FileNode {
  const content = digestOf(Buffer.from(text));
  return { ...attributes(0o644, given), type: 'file', size: Buffer.byteLength(text), content };
}

/** A file of any size, whose digest is made up. */
export function largeFile(size: number, given: Given = {}): FileNode {
  const content = digestOf(Buffer.from(`${size} bytes`));
  return { ...attributes(0o644, given), type: 'file', size, content };
}

/** Names are byte strings as they are written: `\xff` is one byte. */
export function directory(
  children: Record<string, TreeNode> | Map<ByteString, TreeNode> = {},
  given: Given = {},
): DirectoryNode {
  const all = children instanceof Map ? [...children] : Object.entries(children);
  return {
    ...attributes(0o755, given),
    type: 'directory',
    children: new Map(all.map(([name, node]): [ByteString, TreeNode] => [bytes(name), node])),
  };
}

export function symlink(target: string, given: Given = {}): TreeNode {
  return { ...attributes(0o777, given), type: 'symlink', target: bytes(target) };
}

export function device(
  type: 'character' | 'block',
  major: number,
  minor: number,
  given: Given = {},
): TreeNode {
  return { ...attributes(0o600, given), type, device: { major, minor } };
}

export function fifo(given: Given = {}): TreeNode {
  return { ...attributes(0o600, given), type: 'fifo' };
}

export function socket(given: Given = {}): TreeNode {
  return { ...attributes(0o700, given), type: 'socket' };
}
