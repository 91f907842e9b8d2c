import t, { type Test } from 'tap';
import type { Digest } from '../../src/digest.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { seenAs } from './check-tree.js';
import { readRecord } from './read-records.js';
import { type ExpectedTree, type TortureCase, tortureLayers } from './torture-layers.js';

async function mergedTree(layers: readonly Buffer[][], expected: ExpectedTree) {
  const contents = new Map<Digest, Buffer>();
  const records = [];
  for (const pieces of layers) records.push(await readRecord(pieces, contents));
  return seenAs(expected, mergeLayers(records), contents);
}

/** Cut where it hurts: inside headers, at block ends, one byte at a time at first. */
function pieces(layer: Buffer): Buffer[] {
  const cuts = [1, 2, 3, 100, 511, 512, 513, 700, 1024, 1537, 5000, 70_000].filter(
    (cut) => cut < layer.length,
  );
  return [0, ...cuts].map((cut, index) => layer.subarray(cut, cuts[index] ?? layer.length));
}

async function check(t: Test, { layers, expected }: TortureCase) {
  for (const cut of [(layer: Buffer) => [layer], pieces]) {
    const tree = mergedTree(layers.map(cut), expected instanceof RegExp ? {} : expected);
    if (expected instanceof RegExp) {
      await t.rejects(tree, { name: 'ThinError', code: 'corrupt', message: expected });
    } else {
      t.strictSame(await tree, expected);
    }
  }
}

const cases = tortureLayers();
for (const one of cases) {
  t.test(`${one.rule} ${one.name}`, (t) => check(t, one));
}

t.test('every rule has a case', async (t) => {
  const rules = new Set(cases.map(({ rule }) => rule));
  for (let rule = 1; rule <= 30; rule += 1) t.ok(rules.has(`L${rule}`), `L${rule}`);
});
