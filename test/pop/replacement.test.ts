import t from 'tap';
import { replacement } from '../../src/pop/replacement.js';
import fc from '../support/properties.js';

t.test('the least recently used leaves first', async (t) => {
  const kept = replacement<string>('lru');
  for (const key of ['a', 'b', 'c', 'a']) kept.used(key, 10);
  t.same([kept.count, kept.bytes, kept.victim()], [3, 30, 'b']);
  kept.removed('b');
  t.same([kept.count, kept.bytes, kept.victim()], [2, 20, 'c']);
});

t.test('GDSF keeps what is small and used often, and forgets old uses', async (t) => {
  const kept = replacement<string>('gdsf');
  for (let uses = 0; uses < 5; uses++) kept.used('often', 100);
  kept.used('large', 1000);
  kept.used('small', 10);
  t.equal(kept.victim(), 'large');
  kept.removed('large');
  t.equal(kept.victim(), 'often');
  // What leaves again and again lifts all that comes later above what is never used any more.
  for (let at = 0; at < 200 && kept.sizeOf('often') !== undefined; at++) {
    kept.used(`new${at}`, 100);
    const victim = kept.victim();
    if (victim !== undefined) kept.removed(victim);
  }
  t.equal(kept.sizeOf('often'), undefined);
});

t.test('the victim is the one of least value, whatever was done before', async () => {
  const operation = fc.record({
    key: fc.nat(12),
    size: fc.integer({ min: 1, max: 9 }),
    remove: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const kept = replacement<number>('gdsf');
      const model = new Map<number, { size: number; uses: number; rank: number }>();
      let age = 0;
      const least = () => Math.min(...[...model.values()].map(({ rank }) => rank));
      for (const { key, size, remove } of operations) {
        if (remove) {
          const victim = kept.victim();
          if (victim === undefined) continue;
          age = model.get(victim)?.rank ?? Number.NaN;
          if (age !== least()) return false;
          model.delete(victim);
          kept.removed(victim);
        } else {
          const uses = (model.get(key)?.uses ?? 0) + 1;
          model.set(key, { size, uses, rank: age + uses / size });
          kept.used(key, size);
        }
        let bytes = 0;
        for (const each of model.values()) bytes += each.size;
        if (kept.bytes !== bytes || kept.count !== model.size) return false;
      }
      return true;
    }),
  );
});
