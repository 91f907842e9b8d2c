import { type ByteString, emptyByteString } from '../byte-string.js';
import type { DirectoryEntry, ErofsImage, Inode } from './erofs-image.js';
import { joinPath, TreeReader } from './tree-reader.js';

/** What of an inode can differ. `links`: it is hard-linked to other paths than before. */
export type ChangedField =
  | 'type'
  | 'mode'
  | 'owner'
  | 'mtime'
  | 'size'
  | 'content'
  | 'target'
  | 'device'
  | 'links'
  | 'xattrs';

/** `path` is from the root, without a `/` at its start; the root's own is empty. */
export type Difference =
  | { readonly kind: 'added' | 'removed'; readonly path: ByteString; readonly nid: number }
  | {
      readonly kind: 'changed';
      readonly path: ByteString;
      readonly what: readonly ChangedField[];
      readonly before: number;
      readonly after: number;
    };

/** One image with what was seen of it. */
interface Side {
  readonly image: ErofsImage;
  readonly reader: TreeReader;
  /** Of hard-linked inodes, the inode of the other image that first had the same path. */
  readonly linked: Map<number, number>;
}

/** A name that both, or only one, of the images have. */
interface Pair {
  readonly path: ByteString;
  readonly before: DirectoryEntry | undefined;
  readonly after: DirectoryEntry | undefined;
}

/**
 * How two images differ, path by path in the order of a walk. All that is in a directory that was
 * added or removed is told too.
 * @throws ThinError `corrupt` if one of the images is
 */
export function* diffImages(before: ErofsImage, after: ErofsImage): Generator<Difference> {
  const older: Side = { image: before, reader: new TreeReader(before), linked: new Map() };
  const newer: Side = { image: after, reader: new TreeReader(after), linked: new Map() };
  /** Still to be compared, the next one last. */
  const pending: Pair[] = [{ path: emptyByteString, before: rootOf(before), after: rootOf(after) }];
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const difference = compare(older, newer, pair);
    if (difference !== undefined) yield difference;
    for (const child of pairsOf(older, newer, pair).reverse()) pending.push(child);
  }
}

function rootOf(image: ErofsImage): DirectoryEntry {
  return { name: emptyByteString, nid: image.rootNid, type: 'directory' };
}

function compare(older: Side, newer: Side, pair: Pair): Difference | undefined {
  const { path, before, after } = pair;
  if (before === undefined || after === undefined) {
    const nid = before?.nid ?? after?.nid ?? 0;
    return { kind: before === undefined ? 'added' : 'removed', path, nid };
  }
  const what = changedFields(older, newer, before.nid, after.nid);
  if (what.length === 0) return undefined;
  return { kind: 'changed', path, what, before: before.nid, after: after.nid };
}

/** The children of a pair, merged in byte order of their names. */
function pairsOf(older: Side, newer: Side, { path, before, after }: Pair): Pair[] {
  const left = before?.type === 'directory' ? older.reader.list(before.nid) : [];
  const right = after?.type === 'directory' ? newer.reader.list(after.nid) : [];
  const pairs: Pair[] = [];
  for (let i = 0, j = 0; i < left.length || j < right.length; ) {
    const one = left[i];
    const other = right[j];
    const takeLeft = one !== undefined && (other === undefined || one.name <= other.name);
    const takeRight = other !== undefined && (one === undefined || other.name <= one.name);
    if (takeLeft) i++;
    if (takeRight) j++;
    const name = takeLeft ? one.name : (other?.name ?? emptyByteString);
    pairs.push({
      path: joinPath(path, name),
      before: takeLeft ? one : undefined,
      after: takeRight ? other : undefined,
    });
  }
  return pairs;
}

function changedFields(
  older: Side,
  newer: Side,
  beforeNid: number,
  afterNid: number,
): ChangedField[] {
  const before = older.image.inode(beforeNid);
  const after = newer.image.inode(afterNid);
  if (before.type !== after.type) return ['type'];
  const { device: had } = before;
  const { device: has } = after;
  const isDirectory = before.type === 'directory';
  const tests: [ChangedField, boolean][] = [
    ['mode', before.mode !== after.mode],
    ['owner', before.uid !== after.uid || before.gid !== after.gid],
    ['mtime', !sameTime(before, after)],
    ['size', before.type === 'file' && before.size !== after.size],
    ['content', before.content !== after.content],
    ['target', before.type === 'symlink' && !sameTarget(older, newer, before, after)],
    ['device', had?.major !== has?.major || had?.minor !== has?.minor],
    ['links', !isDirectory && !sameLinks(older, newer, before, after)],
    ['xattrs', !sameXattrs(older.reader.xattrs(beforeNid), newer.reader.xattrs(afterNid))],
  ];
  return tests.flatMap(([field, changed]) => (changed ? [field] : []));
}

function sameTime(before: Inode, after: Inode): boolean {
  const { seconds, nanoseconds } = before.mtime;
  return seconds === after.mtime.seconds && nanoseconds === after.mtime.nanoseconds;
}

function sameTarget(older: Side, newer: Side, before: Inode, after: Inode): boolean {
  return older.image.readlink(before.nid) === newer.image.readlink(after.nid);
}

/** True if the names of both inodes were, as far as seen, the same paths. */
function sameLinks(older: Side, newer: Side, before: Inode, after: Inode): boolean {
  if (before.nlink !== after.nlink) return false;
  if (before.nlink === 1) return true;
  const partner = older.linked.get(before.nid) ?? after.nid;
  const partnerBack = newer.linked.get(after.nid) ?? before.nid;
  older.linked.set(before.nid, partner);
  newer.linked.set(after.nid, partnerBack);
  return partner === after.nid && partnerBack === before.nid;
}

function sameXattrs(
  before: ReadonlyMap<ByteString, Buffer>,
  after: ReadonlyMap<ByteString, Buffer>,
): boolean {
  if (before.size !== after.size) return false;
  return [...before].every(([name, value]) => after.get(name)?.equals(value) === true);
}
