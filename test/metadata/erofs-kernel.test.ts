import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestHex } from '../../src/digest.js';
import type { DirectoryNode, FileNode, TreeNode } from '../../src/image/tree.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { type Expected, expectedView, type Seen } from './expected-view.js';
import {
  checkImage,
  kernelView,
  mountComposed,
  mountFile,
  mountLoop,
  type Shown,
  scratchDirectory,
} from './kernel-view.js';
import { manyNames, tortureTree } from './torture-tree.js';

/** Compares path by path, so that a failure names the path and not 14 000 of them. */
function differences(tree: DirectoryNode, at: string, seen: Seen): string[] {
  const found = kernelView(at);
  const expected = expectedView(tree, seen);
  const groupOf = new Map<string, number>();
  const absent = [...found.keys()].filter((path) => !expected.has(path)).map((p) => `ghost ${p}`);
  return absent.concat(
    [...expected.values()].flatMap((one) => {
      const shown = found.get(one.path);
      if (shown === undefined) return [`missing ${one.path}`];
      groupOf.set(shown.inode, groupOf.get(shown.inode) ?? one.group);
      const left = JSON.stringify(comparable(one, seen));
      const right = JSON.stringify(
        comparable({ ...shown, group: groupOf.get(shown.inode) ?? -1 }, seen),
      );
      return left === right ? [] : [`${one.path}: wanted ${left}, the kernel has ${right}`];
    }),
  );
}

/** Directories have sizes of the file system's choosing, and link counts too in an overlay. */
function comparable(one: Expected | (Shown & { group: number }), seen: Seen): unknown {
  const isDirectory = (one.mode & 0o170000) === 0o040000;
  const { path, mode, uid, gid, mtime, size, device, target, group, nlink } = one;
  const xattrs = Object.entries(one.xattrs).sort(([a], [b]) => (a < b ? -1 : 1));
  const counted = isDirectory && seen === 'overlay' ? 0 : nlink;
  const sized = isDirectory ? 0 : size;
  return {
    path,
    mode,
    uid,
    gid,
    mtime,
    size: sized,
    device,
    target,
    group,
    nlink: counted,
    xattrs,
  };
}

t.test('the kernel shows what the tree has, file-backed and over a loop device', async (t) => {
  const scratch = scratchDirectory(t);
  const tree = tortureTree();
  const image = join(scratch, 'metadata.erofs');
  writeFileSync(image, writeErofs(tree));
  checkImage(image);
  mountFile(t, image, join(scratch, 'file'));
  t.same(differences(tree, join(scratch, 'file'), 'erofs'), []);
  mountLoop(t, image, join(scratch, 'loop'));
  t.same(differences(tree, join(scratch, 'loop'), 'erofs'), []);
});

t.test('an overlay finds the contents by the redirects', async (t) => {
  const scratch = scratchDirectory(t);
  const tree = tortureTree();
  const image = join(scratch, 'metadata.erofs');
  writeFileSync(image, writeErofs(tree));
  const objects = join(scratch, 'objects');
  const files = [...filesByContent(tree)];
  for (const [, node] of files) writeObject(objects, node);
  mountFile(t, image, join(scratch, 'metadata'));
  mountComposed(t, join(scratch, 'metadata'), objects, join(scratch, 'composed'));
  t.same(differences(tree, join(scratch, 'composed'), 'overlay'), []);
  for (const [path, node] of files) {
    const found = firstBytes(Buffer.from(`${join(scratch, 'composed')}/${path}`, 'latin1'));
    if (found !== firstBytesOf(node)) t.fail(`${path} has ${JSON.stringify(found)}`);
  }
  t.ok(files.length > 200, 'there was something to read');
});

t.test('the kernel finds each of 100 000 names, and no others', async (t) => {
  const scratch = scratchDirectory(t);
  const image = join(scratch, 'metadata.erofs');
  writeFileSync(image, writeErofs(manyNames(100_000)));
  checkImage(image);
  mountFile(t, image, join(scratch, 'file'));
  const names = readdirSync(join(scratch, 'file'));
  t.equal(new Set(names).size, 100_000);
  t.same(
    names.filter((name) => !existsSync(join(scratch, 'file', name))),
    [],
  );
  t.same(
    ['name', 'name 100000', 'name 00', 'n', 'z', '!', 'name 9999a'].filter((name) =>
      existsSync(join(scratch, 'file', name)),
    ),
    [],
  );
});

/** The first path of each content. */
function* filesByContent(root: DirectoryNode): Generator<[string, FileNode]> {
  const seen = new Set<string>();
  const pending: [string, TreeNode][] = [['', root]];
  for (const [path, node] of pending) {
    if (node.type === 'directory') {
      for (const [name, child] of node.children) pending.push([`${path}/${name}`, child]);
    } else if (node.type === 'file' && node.size > 0 && !seen.has(node.content)) {
      seen.add(node.content);
      yield [path, node];
    }
  }
}

function firstBytesOf(node: FileNode): string {
  return digestHex(node.content).slice(0, Math.min(64, node.size));
}

/** An object of the right size that begins with its own name: the kernel does not look inside. */
function writeObject(objects: string, node: FileNode): void {
  const hex = digestHex(node.content);
  mkdirSync(join(objects, hex.slice(0, 2)), { recursive: true });
  const descriptor = openSync(join(objects, hex.slice(0, 2), hex), 'w');
  writeFileSync(descriptor, firstBytesOf(node));
  ftruncateSync(descriptor, node.size);
  closeSync(descriptor);
}

function firstBytes(path: Buffer): string {
  const descriptor = openSync(path, 'r');
  const bytes = Buffer.alloc(64);
  const length = readSync(descriptor, bytes, 0, 64, 0);
  closeSync(descriptor);
  return bytes.toString('latin1', 0, length);
}
