import { type ByteString, byteStringToBuffer, displayByteString } from '../byte-string.js';
import type { Difference } from '../metadata/diff-images.js';
import type { ErofsImage, Inode } from '../metadata/erofs-image.js';
import { resolvePath } from '../metadata/resolve-path.js';

/** Escaped where people look at it, raw bytes where a program reads it, as GNU ls does. */
function writeName(name: ByteString): void {
  if (process.stdout.isTTY) process.stdout.write(`${displayByteString(name)}\n`);
  else process.stdout.write(Buffer.concat([byteStringToBuffer(name), Buffer.from('\n')]));
}

const typeLetters: Readonly<Record<Inode['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  character: 'c',
  block: 'b',
  fifo: 'p',
  socket: 's',
};

/** `-rwsr-xr-x`, as ls prints it. */
export function modeText(inode: Pick<Inode, 'type' | 'mode'>): string {
  const bits = [...'rwxrwxrwx'].map((letter, at) => (inode.mode & (0o400 >> at) ? letter : '-'));
  const special: [number, number, string, string][] = [
    [0o4000, 2, 's', 'S'],
    [0o2000, 5, 's', 'S'],
    [0o1000, 8, 't', 'T'],
  ];
  for (const [bit, at, both, alone] of special) {
    if (inode.mode & bit) bits[at] = bits[at] === '-' ? alone : both;
  }
  return typeLetters[inode.type] + bits.join('');
}

/** `2024-02-29 12:34:56.123456789` in UTC; years outside 0 to 9999 as seconds. */
export function timeText(time: Inode['mtime']): string {
  const date = new Date(time.seconds * 1000);
  const nanoseconds = `${time.nanoseconds}`.padStart(9, '0');
  const year = date.getUTCFullYear();
  if (Number.isNaN(year) || year < 0 || year > 9999) return `@${time.seconds}.${nanoseconds}`;
  return `${date.toISOString().slice(0, 19).replace('T', ' ')}.${nanoseconds}`;
}

export interface ListOptions {
  readonly long: boolean;
  readonly recursive: boolean;
  readonly json?: boolean;
}

/** Prints a folder's entries, or the entry itself if the path is no folder. */
export function listPath(tree: ErofsImage, path: ByteString, options: ListOptions): void {
  const nid = resolvePath(tree, path, { followLast: !options.long });
  if (tree.inode(nid).type !== 'directory') {
    printEntry(tree, path, nid, options);
    return;
  }
  const pending: { nid: number; prefix: string }[] = [{ nid, prefix: '' }];
  for (let folder = pending.pop(); folder; folder = pending.pop()) {
    const below: typeof pending = [];
    for (const entry of tree.readdir(folder.nid)) {
      if (entry.name === '.' || entry.name === '..') continue;
      const name = `${folder.prefix}${entry.name}` as ByteString;
      printEntry(tree, name, entry.nid, options);
      if (options.recursive && entry.type === 'directory') {
        below.push({ nid: entry.nid, prefix: `${name}/` });
      }
    }
    pending.push(...below.reverse());
  }
}

function printEntry(tree: ErofsImage, name: ByteString, nid: number, options: ListOptions): void {
  if (options.json) {
    process.stdout.write(
      `${JSON.stringify({ path: displayByteString(name), ...facts(tree, nid) })}\n`,
    );
    return;
  }
  if (!options.long) {
    writeName(name);
    return;
  }
  const inode = tree.inode(nid);
  const owner = `${inode.uid}:${inode.gid}`.padEnd(9);
  const size = sizeColumn(inode).padStart(10);
  const target = inode.type === 'symlink' ? ` -> ${displayByteString(tree.readlink(nid))}` : '';
  const time = timeText(inode.mtime).slice(0, 19);
  const links = `${inode.nlink}`.padStart(3);
  const columns = [modeText(inode), links, owner, size, time, displayByteString(name) + target];
  process.stdout.write(`${columns.join(' ')}\n`);
}

function sizeColumn(inode: Inode): string {
  return inode.device ? `${inode.device.major},${inode.device.minor}` : `${inode.size}`;
}

/** What the metadata says of an inode, for JSON: names escaped, xattr values in base64. */
function facts(tree: ErofsImage, nid: number): Record<string, unknown> {
  const inode = tree.inode(nid);
  const xattrs = [...tree.xattrs(nid)].map(([name, value]) => [
    displayByteString(name),
    value.toString('base64'),
  ]);
  return {
    type: inode.type,
    mode: inode.mode.toString(8).padStart(4, '0'),
    uid: inode.uid,
    gid: inode.gid,
    size: inode.size,
    nlink: inode.nlink,
    mtime: timeText(inode.mtime),
    ...(inode.device && { device: inode.device }),
    ...(inode.content && { digest: inode.content }),
    ...(inode.type === 'symlink' && { target: displayByteString(tree.readlink(nid)) }),
    ...(xattrs.length > 0 && { xattrs: Object.fromEntries(xattrs) }),
  };
}

export function statText(tree: ErofsImage, path: ByteString, json: boolean): string {
  const nid = resolvePath(tree, path, { followLast: false });
  const all = { path: displayByteString(path), inode: nid, ...facts(tree, nid) };
  if (json) return `${JSON.stringify(all, null, 2)}\n`;
  const lines = Object.entries(all).map(([name, value]) => {
    const shown = typeof value === 'object' ? JSON.stringify(value) : String(value);
    return `${`${name}:`.padEnd(9)}${shown}`;
  });
  return `${lines.join('\n')}\n`;
}

const differenceLetters: Readonly<Record<Difference['kind'], string>> = {
  added: 'A',
  removed: 'D',
  changed: 'C',
};

export function differenceText(difference: Difference, json: boolean): string {
  const path = displayByteString(difference.path);
  const what = difference.kind === 'changed' ? difference.what : [];
  if (json) return `${JSON.stringify({ kind: difference.kind, path, what })}\n`;
  const reasons = what.length > 0 ? `  (${what.join(', ')})` : '';
  return `${differenceLetters[difference.kind]} ${path}${reasons}\n`;
}
