import t from 'tap';
import type { ByteString } from '../../src/byte-string.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import type { LayerEntry, LayerRecord } from '../../src/image/layer-entry.js';
import type { Attributes, DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import fc from '../support/properties.js';
import { checkTree } from './merge-invariants.js';

/** Few names, so that entries meet; also those that no reader of layers lets through. */
const component = fc.constantFrom<string>('a', 'b', 'c', 'a', 'b', 'c', '..', '.', '', '.wh.a');
const wildPath = fc
  .array(component, { maxLength: 5 })
  .map((parts) => parts.join('/') as ByteString);
const path = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/') as ByteString);
const removal = fc
  .tuple(path, fc.constantFrom('.wh.a', '.wh.b', '.wh.c', '.wh..wh..opq'))
  .map(([at, name]) => at.replace(/[^/]*$/, name) as ByteString);
const target = fc.constantFrom(
  'a',
  '/b',
  '../c',
  '..',
  '/',
  '../../../a/b',
  'c/./a/',
  'missing/../b',
);

const attributes: fc.Arbitrary<Attributes> = fc.record({
  mode: fc.constantFrom(0o600, 0o755),
  uid: fc.nat(3),
  gid: fc.constant(0),
  mtime: fc.constant({ seconds: 1, nanoseconds: 0 }),
  xattrs: fc.constant(new Map()),
});

function entryAt(paths: fc.Arbitrary<ByteString>): fc.Arbitrary<LayerEntry> {
  return fc
    .tuple(paths, attributes, fc.nat(9), target, paths)
    .map(([at, common, kind, link, other]): LayerEntry => {
      const base = { ...common, path: at };
      if (kind < 4) {
        const content = digestOf(Buffer.from([kind]));
        return { ...base, type: 'file', size: 1, content };
      }
      if (kind < 7) return { ...base, type: 'directory' };
      if (kind === 7) return { ...base, type: 'symlink', target: link as ByteString };
      if (kind === 8) return { ...base, type: 'hardlink', target: other };
      return { ...base, type: 'character', device: { major: 0, minor: 0 } };
    });
}

const diffId = `sha256:${'2'.repeat(64)}` as Digest;

function stackOf(paths: fc.Arbitrary<ByteString>): fc.Arbitrary<LayerRecord[]> {
  const layer = fc
    .array(fc.oneof({ weight: 3, arbitrary: entryAt(paths) }, entryAt(removal)), { maxLength: 10 })
    .map((entries) => ({ diffId, entries }));
  return fc.array(layer, { maxLength: 4 });
}

function merged(layers: readonly LayerRecord[]): DirectoryNode | undefined {
  try {
    return mergeLayers(layers);
  } catch (error) {
    if (isThinError(error, 'corrupt')) return undefined;
    throw error;
  }
}

/** Everything there is to see, which inodes are one included. */
function described(tree: DirectoryNode | undefined): unknown {
  const inodes = new Map<TreeNode, number>();
  const describe = (node: TreeNode): unknown => {
    const number = inodes.get(node) ?? inodes.size;
    inodes.set(node, number);
    if (node.type !== 'directory') return { ...node, number };
    const children = [...node.children].sort(([a], [b]) => (a < b ? -1 : 1));
    return { ...node, number, children: children.map(([name, child]) => [name, describe(child)]) };
  };
  return tree === undefined ? 'refused' : describe(tree);
}

function isRemoval({ path: at }: LayerEntry): boolean {
  return /(^|\/)\.wh\./.test(at);
}

function check(name: string, property: fc.IProperty<[LayerRecord[]]>, numRuns: number): void {
  t.test(name, async () => fc.assert(property, { numRuns }));
}

check(
  'whatever the layers are, they are merged inside the root, or refused',
  fc.property(stackOf(fc.oneof(path, wildPath)), (layers) => {
    const before = JSON.stringify(layers);
    const tree = merged(layers);
    if (tree !== undefined) checkTree(tree);
    return JSON.stringify(layers) === before;
  }),
  5000,
);

check(
  'the same layers give the same tree',
  fc.property(stackOf(path), (layers) => {
    const again = structuredClone(layers);
    return JSON.stringify(described(merged(layers))) === JSON.stringify(described(merged(again)));
  }),
  500,
);

check(
  'where in its layer a whiteout is means nothing',
  fc.property(stackOf(path), (layers) => {
    const moved = (order: (entries: readonly LayerEntry[]) => LayerEntry[]) =>
      JSON.stringify(
        described(merged(layers.map((layer) => ({ ...layer, entries: order(layer.entries) })))),
      );
    const rest = (entries: readonly LayerEntry[]) => entries.filter((entry) => !isRemoval(entry));
    const first = moved((entries) => [...entries.filter(isRemoval), ...rest(entries)]);
    const last = moved((entries) => [...rest(entries), ...entries.filter(isRemoval).reverse()]);
    const asItIs = moved((entries) => [...entries]);
    return first === last && first === asItIs;
  }),
  3000,
);

check(
  'an opaque root, or whiteouts of all there is, leave nothing of lower layers',
  fc.property(stackOf(path), (layers) => {
    const tree = merged(layers);
    if (tree === undefined) return true;
    const common = { mode: 0, uid: 0, gid: 0, mtime: { seconds: 0, nanoseconds: 0 } };
    const whiteout = (name: string): LayerEntry => ({
      ...common,
      xattrs: new Map(),
      path: name as ByteString,
      type: 'file',
      size: 0,
      content: diffId,
    });
    const all = [...tree.children.keys()].map((name) => whiteout(`.wh.${name}`));
    return [[whiteout('.wh..wh..opq')], all].every(
      (entries) => mergeLayers([...layers, { diffId, entries }]).children.size === 0,
    );
  }),
  1000,
);
