import t from 'tap';
import { readAhead } from '../../src/layer/read-ahead.js';
import { until } from '../cache/cache-rig.js';

/** Numbers from 0 on, and what was asked of them. */
function numbers(count: number) {
  const seen = { given: 0, ended: false };
  async function* source(): AsyncGenerator<number, void> {
    try {
      for (; seen.given < count; ) yield seen.given++;
    } finally {
      seen.ended = true;
    }
  }
  return { seen, source: source() };
}

t.test('items come in order, with so many asked for ahead', async (t) => {
  const { seen, source } = numbers(10);
  const found: number[] = [];
  for await (const item of readAhead(source, 3)) {
    await until(() => seen.given >= Math.min(item + 4, 10));
    t.ok(seen.given <= item + 4, 'and no more');
    found.push(item);
  }
  t.same(found, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  t.ok(seen.ended);
});

t.test('who stops ends the source', async (t) => {
  const { seen, source } = numbers(10);
  for await (const item of readAhead(source, 2)) if (item === 1) break;
  t.ok(seen.ended);
});

t.test('an error comes after the items before it', async (t) => {
  const found: number[] = [];
  async function* source(): AsyncGenerator<number, void> {
    yield* [1, 2];
    throw new Error('broken');
  }
  const reading = (async () => {
    for await (const item of readAhead(source(), 5)) found.push(item);
  })();
  await t.rejects(reading, /broken/);
  t.same(found, [1, 2]);
});
