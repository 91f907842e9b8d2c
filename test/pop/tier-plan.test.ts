import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { packList, TierLists } from '../../src/pop/tier-lists.js';
import { planTier, type TierImage, type TierState } from '../../src/pop/tier-plan.js';
import { replacementPolicies } from '../../src/pop-option.js';
import fc from '../support/properties.js';

/** Images of files named by letters, of which each has ten bytes. */
function stateOf(images: readonly Partial<TierImage>[], orphans = ''): TierState {
  const all = images.map((image, at) => ({
    ...{ image: `image ${at}`, files: [], idleMs: 1000, times: 1, inUse: false },
    ...image,
  }));
  const names = [...all.flatMap(({ files }) => files), ...orphans];
  return { files: new Map(names.map((name) => [name, 10])), images: all, orphans: [...orphans] };
}

t.test(
  'first what is nobody’s, then what was used longest ago, as far as it is alone',
  async (t) => {
    const state = stateOf(
      [
        { files: [...'abc'], idleMs: 3000 },
        { files: [...'bcd'], idleMs: 2000 },
        { files: [...'de'], idleMs: 1000 },
      ],
      'xy',
    );
    t.same(planTier(state, 0, 'lru'), { images: [], files: [], bytes: 0 });
    t.same(planTier(state, 20, 'lru'), { images: [], files: ['x', 'y'], bytes: 20 });
    t.same(planTier(state, 25, 'lru'), { images: ['image 0'], files: ['x', 'y', 'a'], bytes: 30 });
    t.match(planTier(state, 35, 'lru'), { images: ['image 0', 'image 1'], bytes: 50 });
    t.equal(planTier(state, 1000, 'lru').bytes, 70, 'all that there is');
  },
);

t.test('what is in use stays, and what nobody knows goes first', async (t) => {
  const state = stateOf([
    { files: [...'ab'], idleMs: 9000, inUse: true },
    { files: [...'bc'], idleMs: 100 },
    { files: [...'de'], idleMs: Number.POSITIVE_INFINITY },
  ]);
  t.same(planTier(state, 15, 'lru').files, ['d', 'e']);
  t.same(planTier(state, 1000, 'lru').files, ['d', 'e', 'c']);
});

t.test('gdsf keeps what is mounted often, and small', async (t) => {
  const state = stateOf([
    { files: [...'a'], idleMs: 9000, times: 50 },
    { files: [...'bcdefgh'], idleMs: 100 },
  ]);
  t.same(planTier(state, 10, 'gdsf').images, ['image 1']);
  t.same(planTier(state, 10, 'lru').images, ['image 0']);
});

t.test('enough leaves, and nothing that an image needs which stays', async () => {
  const names = fc.uniqueArray(fc.constantFrom(...'abcdefghijkl'), { maxLength: 8 });
  const image = fc.record({
    files: names,
    idleMs: fc.nat(5),
    times: fc.nat(3),
    inUse: fc.boolean(),
  });
  const policy = fc.constantFrom(...replacementPolicies);
  fc.assert(
    fc.property(fc.array(image, { maxLength: 6 }), fc.nat(150), policy, (images, wanted, of) => {
      const state = stateOf(images, 'xyz');
      const plan = planTier(state, wanted, of);
      const gone = new Set(plan.files);
      if (gone.size !== plan.files.length || plan.bytes !== 10 * gone.size) return false;
      const stay = state.images.filter(({ image }) => !plan.images.includes(image));
      const needed = new Set(stay.flatMap(({ files }) => files));
      const mayStill = stay.some(({ inUse }) => !inUse);
      return plan.files.every((file) => !needed.has(file)) && (plan.bytes >= wanted || !mayStill);
    }),
  );
});

t.test('what a node says in the folder itself that it uses is in use, for a while', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'thinfs-tier-lists-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  for (const name of ['.incoming', 'ab']) mkdirSync(join(directory, name));
  const lists = new TierLists(directory);
  const images = ['a', 'b', 'c'].map((digit) => `sha256:${digit.repeat(64)}`);
  const file = 'ab'.repeat(32);
  writeFileSync(join(directory, 'ab', file), 'x'.repeat(10));
  for (const image of images) await lists.write(image, packList([{ hex: file, size: 10 }]));
  await lists.mark(images.slice(0, 2));
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(join(directory, '.in-use', 'b'.repeat(64)), longAgo, longAgo);
  const uses = images.map((image) => ({ image, idleMs: 1000, times: 1, inUse: false }));
  const state = await lists.survey(uses);
  const inUse = state.images.filter((each) => each.inUse).map(({ image }) => image);
  t.same(inUse, images.slice(0, 1));
  t.same(readdirSync(join(directory, '.in-use')), ['a'.repeat(64)], 'what is old goes');
  t.same(planTier(state, 10, 'lru').files, [], 'the file is of one that is used');
  await lists.mark(images.slice(1, 2));
  const later = await lists.survey(uses);
  t.equal(later.images.filter((each) => each.inUse).length, 2, 'and may be said again');
});
