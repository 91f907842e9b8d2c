import t from 'tap';
import { parseTier, parseTiers } from '../src/tier-option.js';

t.test('a tier: name, folder, and how much of it', async (t) => {
  t.same(parseTier('fast=/mnt/a,size=2g,free=1m'), {
    name: 'fast',
    directory: '/mnt/a',
    quotaBytes: 2 ** 31,
    freeSpaceFloorBytes: 2 ** 20,
  });
  t.same(parseTier('ram=/run/x=y'), {
    name: 'ram',
    directory: '/run/x=y',
    quotaBytes: 20 * 2 ** 30,
    freeSpaceFloorBytes: 64 * 2 ** 20,
  });
});

t.test('anything else is refused', async (t) => {
  for (const text of [
    '',
    'fast',
    '=/a',
    'fast=',
    'fast=here',
    'f=/a,size=x',
    'f=/a,speed=9',
    'local=/a',
    'F=/a',
  ]) {
    t.throws(() => parseTier(text), { name: 'ThinError', code: 'invalid' }, text);
  }
});

t.test('one that all nodes have', async (t) => {
  const { tiers, shared } = parseTiers(['fast=/mnt/a', 'shared=/mnt/b,direct,size=1t']);
  t.same(
    tiers.map(({ name }) => name),
    ['fast'],
  );
  t.same(shared, {
    directory: '/mnt/b',
    direct: true,
    quotaBytes: 2 ** 40,
    freeSpaceFloorBytes: 64 * 2 ** 20,
  });
  t.equal(parseTiers(['shared=/mnt/b']).shared?.quotaBytes, Number.POSITIVE_INFINITY);
  for (const texts of [['shared=b'], ['shared=/b,direct=1'], ['shared=/b', 'shared=/c']]) {
    t.throws(() => parseTiers(texts), { code: 'invalid' });
  }
});
