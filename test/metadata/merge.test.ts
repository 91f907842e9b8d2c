import t from 'tap';
import type { ByteString } from '../../src/byte-string.js';
import { type Digest, digestFromBytes, digestOf, digestSize } from '../../src/digest.js';
import type { LayerEntry, LayerRecord } from '../../src/image/layer-entry.js';
import type { Attributes, DirectoryNode } from '../../src/image/tree.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { mergeBounds } from '../../src/metadata/merge-tree.js';
import { writeDigest } from '../../src/metadata/merged-file.js';
import { checkTree } from './merge-invariants.js';

/** The layer rules have their cases in test/layer/torture-layers.ts; here is what is not in them. */
const attributes: Attributes = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: { seconds: 1, nanoseconds: 2 },
  xattrs: new Map(),
};
const nothing = digestOf(Buffer.alloc(0));

function path(text: string): ByteString {
  return text as ByteString;
}

function file(name: string): LayerEntry {
  return { ...attributes, path: path(name), type: 'file', size: 0, content: nothing };
}

function directory(name: string): LayerEntry {
  return { ...attributes, path: path(name), type: 'directory' };
}

function link(type: 'symlink' | 'hardlink', name: string, target: string): LayerEntry {
  return { ...attributes, path: path(name), type, target: path(target) };
}

function layerOf(entries: readonly LayerEntry[]): LayerRecord {
  return { diffId: `sha256:${'1'.repeat(64)}` as Digest, entries };
}

function layer(...entries: LayerEntry[]): LayerRecord {
  return layerOf(entries);
}

function count(root: DirectoryNode): number {
  let nodes = 0;
  for (const child of root.children.values()) {
    nodes += 1 + (child.type === 'directory' ? count(child) : 0);
  }
  return nodes;
}

t.test('no layers and empty layers give an empty root', async (t) => {
  for (const layers of [[], [layer()], [layer(), layer()]]) {
    t.match(mergeLayers(layers), { type: 'directory', mode: 0o755, mtime: { seconds: 0 } });
    t.equal(mergeLayers(layers).children.size, 0);
  }
});

t.test('every file keeps its own content, also as bytes', async (t) => {
  const contents = Array.from({ length: 5000 }, (_, at) => digestOf(Buffer.from(`${at}`)));
  const entries = contents.map((content, at): LayerEntry => {
    return { ...attributes, path: path(`${at}`), type: 'file', size: at, content };
  });
  const [lower, upper] = [entries.slice(0, 3000), entries.slice(2000)];
  const { children } = mergeLayers([layerOf(lower), layerOf(upper)]);
  const bytes = Buffer.alloc(digestSize);
  for (const [at, content] of contents.entries()) {
    const node = children.get(path(`${at}`));
    if (node?.type !== 'file') throw new Error(`no file ${at}`);
    if (node.content !== content || node.size !== at) t.fail(`${at} is another`);
    for (const same of [node, { ...attributes, type: 'file', size: at, content } as const]) {
      writeDigest(same, bytes, 0);
      if (digestFromBytes(bytes) !== content) t.fail(`the bytes of ${at} are others`);
    }
  }
});

t.test('errors say which layer and which entry', async (t) => {
  const bad = layer(link('hardlink', 'a\nb', 'missing'));
  t.throws(() => mergeLayers([layer(), bad, layer()]), {
    code: 'corrupt',
    message: `entry "a\\nb" is a hard link to "missing", which does not exist (layer 2 of 3, ${bad.diffId})`,
  });
});

t.test('the records stay as they are, and the tree shares no children with another', async (t) => {
  const layers = [layer(directory('d'), file('d/a')), layer(directory('d'), file('d/b'))];
  const before = structuredClone(layers);
  const first = mergeLayers(layers);
  const second = mergeLayers(layers.slice(0, 1));
  t.strictSame(layers, before);
  t.equal(count(first), 3);
  t.equal(count(second), 2);
});

t.test('paths that no reader of layers lets through stay in the tree too', async (t) => {
  for (const name of ['..', 'd/..', '.', 'a//', 'a/', 'd/.']) {
    t.throws(() => mergeLayers([layer(directory('d'), file(name))]), { code: 'corrupt' }, name);
  }
  const tree = mergeLayers([layer(directory('d'), file('../../x'), file('/d//y'))]);
  t.strictSame([...tree.children.keys()], ['d', 'x']);
  checkTree(tree);
});

t.test('more layers than an image may have', async (t) => {
  t.throws(() => mergeLayers(Array.from({ length: 513 }, () => layer())), { code: 'corrupt' });
});

t.test('more entries than an image may have, replaced ones and made parents counted', async (t) => {
  const bounds = { ...mergeBounds, entriesMax: 4 };
  t.equal(count(mergeLayers([layer(file('a/b/c'), file('d'))], bounds)), 4);
  t.throws(() => mergeLayers([layer(file('a/b/c/d'), file('e'))], bounds), /one too many/);
  const same = layer(directory('a'), file('a/b'));
  t.ok(mergeLayers([same, same], bounds));
  t.throws(() => mergeLayers([same, same, same], bounds), /one too many/);
});

t.test('chains of symlinks are followed so far and no further', async (t) => {
  const chain = Array.from({ length: 300 }, (_, at) => link('symlink', `l${at}`, `l${at + 1}`));
  const layers = (from: number) => [layer(...chain, directory('l300')), layer(file(`l${from}/x`))];
  t.ok(mergeLayers(layers(45)));
  t.throws(() => mergeLayers(layers(44)), /too many symlinks/);
});

t.test('symlinks cannot be used to take hours', async (t) => {
  const target = `${'./'.repeat(2000)}d`;
  const links = Array.from({ length: 50 }, (_, at) => link('symlink', `l${at}`, target));
  const through = links.map(({ path: name }, at) => file(`${name}/f${at}`));
  const layers = [layer(directory('d'), ...links, ...through)];
  t.equal(count(mergeLayers(layers)), 101);
  t.throws(() => mergeLayers(layers, { ...mergeBounds, linkStepsMax: 50_000 }), /like many before/);
});

t.test('a directory that is replaced is not taken from memory', async (t) => {
  const tree = mergeLayers([
    layer(
      directory('d'),
      file('d/a'),
      link('symlink', 'd', 'e'),
      directory('e'),
      file('d/b'),
      directory('d'),
      file('d/c'),
    ),
    layer(file('e/.wh.b'), file('e/c')),
    layer(file('d/x'), file('.wh.d')),
    layer(file('d/y')),
  ]);
  const children = (name: string) => {
    const node = tree.children.get(path(name));
    return node?.type === 'directory' ? [...node.children.keys()] : node?.type;
  };
  t.strictSame(children('d'), ['x', 'y']);
  t.strictSame(children('e'), ['c']);
});

t.test('long chains of links that wait for their target', async (t) => {
  const links = Array.from({ length: 50_000 }, (_, at) => link('hardlink', `h${at}`, `h${at + 1}`));
  const tree = mergeLayers([layer(...links, file('h50000'))]);
  t.equal(tree.children.size, 50_001);
  t.equal(new Set(tree.children.values()).size, 1);
});

t.test('many entries: wide, deep, and in many layers', async (t) => {
  const wide = Array.from({ length: 100_000 }, (_, at) => file(`wide/${at}`));
  t.equal(count(mergeLayers([layerOf(wide), layerOf(wide)])), 100_001);
  const deep = Array.from({ length: 1000 }, (_, at) => file(`${'d/'.repeat(at)}f`));
  t.equal(count(mergeLayers([layerOf(deep)])), 1999);
  const spread = Array.from({ length: 100_000 }, (_, at) => file(`s/${at % 1000}/x/${at}`));
  t.equal(count(mergeLayers([layerOf(spread)])), 102_001);
  const whiteouts = wide.map((_, at) => file(`wide/.wh.${at}`));
  t.equal(count(mergeLayers([layerOf(wide), layerOf(whiteouts)])), 1);
});
