import t, { type Test } from 'tap';
import { ConversionIndex } from '../../converter/conversion-index.js';
import type { Target } from '../../converter/target.js';
import { UsablePacks } from '../../converter/usable-packs.js';
import type { Pack } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { DirectoryObjects } from '../../src/store/directory-objects.js';
import { writableLayoutStore } from '../../src/store/layout-store.js';
import { testFolder } from './thinify-runs.js';

const { signal } = new AbortController();
const pack = (name: string): Pack => ({ digest: digestOf(Buffer.from(name)), size: 100 });
const there = pack('there');
const elsewhere = pack('elsewhere');
const place = { store: 'registry', repository: 'own' };

/** A store that has one pack, and brings over what `mount` says. */
function targetOf(t: Test, mount: (from: string) => Promise<boolean>) {
  const index = ConversionIndex.open(testFolder(t));
  t.teardown(() => index[Symbol.dispose]());
  const asked: string[] = [];
  const store = {
    ...writableLayoutStore(new DirectoryObjects(testFolder(t))),
    hasBlob: async ({ digest }: Pack) => {
      asked.push(digest);
      return digest === there.digest;
    },
    mountBlob: async (_: Pack, from: string) => await mount(from),
  };
  const target: Target = { store, place, repository: 'registry/own', tag: '1', index };
  return { target, index, asked };
}

t.test('the store is asked once for a pack, and the answer is remembered', async (t) => {
  const { target, index, asked } = targetOf(t, async () => false);
  index.packs.add({ ...place, repository: 'a' }, there, []);
  index.packs.add(place, elsewhere, []);
  const packs = new UsablePacks(target, 10, signal);
  const [first, second] = [packs.ask(there), packs.ask(there)];
  t.equal(await first, true);
  t.equal(await second, true);
  t.equal(packs.ask(there), true, 'at once');
  t.equal(await packs.ask(elsewhere), false);
  t.same(asked, [there.digest, elsewhere.digest]);
  t.same(index.packs.repositoriesOf('registry', there.digest), ['a', 'own']);
  t.same(index.packs.repositoriesOf('registry', elsewhere.digest), [], 'it was lost');
  t.equal(packs.get(elsewhere.digest), undefined);
});

t.test('a pack is brought over from the first repository that lets us', async (t) => {
  const tried: string[] = [];
  const { target, index } = targetOf(t, async (from) => {
    tried.push(from);
    if (from === 'a') throw new ThinError('denied', 'Cannot read a');
    return from === 'c';
  });
  for (const repository of ['a', 'b', 'c', 'd', 'own']) {
    index.packs.add({ ...place, repository }, elsewhere, []);
  }
  const packs = new UsablePacks(target, 10, signal);
  t.equal(await packs.ask(elsewhere), true);
  t.same(tried, ['a', 'b', 'c']);
  t.same(packs.get(elsewhere.digest), elsewhere);
});

t.test('an outage is no refusal', async (t) => {
  const { target, index } = targetOf(t, async () => {
    throw new ThinError('unavailable', 'Cannot reach it');
  });
  index.packs.add({ ...place, repository: 'a' }, elsewhere, []);
  const packs = new UsablePacks(target, 10, signal);
  await t.rejects(async () => await packs.ask(elsewhere), { code: 'unavailable' });
});

t.test('an image refers to so many older packs and no more', async (t) => {
  const { target } = targetOf(t, async () => true);
  const packs = new UsablePacks(target, 2, signal);
  packs.add(pack('own'));
  t.equal(await packs.askAll([pack('1'), there]), false, 'nobody has it');
  t.equal(await packs.ask(there), true);
  const full = new UsablePacks(target, 0, signal);
  t.equal(await full.ask(there), false);
  full.add(pack('own'));
  t.equal(full.ask(pack('own')), true, 'its own are not counted');
});
