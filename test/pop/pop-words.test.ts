import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { PointOfPresence } from '../../src/pop/point-of-presence.js';
import { until } from './site.js';
import { alive, openTestSite } from './test-site.js';

const { folder, join1, redis } = await openTestSite(t);
const never = new AbortController().signal;

/** A word that may be told. */
function read(bytes: Buffer): string | undefined {
  const text = bytes.toString();
  return text.startsWith('word ') ? text : undefined;
}

function known(site: PointOfPresence, subject: string): Promise<string[]> {
  return site.words.find(subject, read, never);
}

t.test('what one node tells of a subject all others find, and those that come later', async (t) => {
  const first = await join1(t, 'first');
  const second = await join1(t, 'second', { members: 2 });
  await until(() => alive(first) === 2);
  t.same(await known(second, 'trains'), [], 'nobody has told');
  await first.words.tell('trains', Buffer.from('word of the first'));
  await first.words.tell('trains', Buffer.from('word that comes too late'));
  t.same(await known(first, 'trains'), ['word of the first']);
  t.same(await known(second, 'trains'), ['word of the first']);
  t.same(await known(second, 'planes'), []);
  const third = await join1(t, 'third', { members: 3 });
  t.same(await known(third, 'trains'), ['word of the first']);

  await redis.kill();
  await until(() => !third.report().agreed);
  t.same(await known(third, 'trains'), ['word of the first'], 'without Redis');
  await redis.restart();
});

t.test('what cannot be a word is taken away', async (t) => {
  const liar = await join1(t, 'liar');
  const reader = await join1(t, 'reader', { members: 2 });
  await until(() => [liar, reader].every((node) => alive(node) === 2)); // those of before are gone
  await liar.words.tell('ships', Buffer.from('nonsense'));
  const kept = () =>
    ['liar', 'reader'].reduce(
      (sum, name) => sum + readdirSync(join(folder, name, 'pop', 'frames')).length,
      0,
    );
  await until(() => kept() === 1);
  t.same(await known(reader, 'ships'), []);
  await until(() => kept() === 0);
  await liar.words.tell('ships', Buffer.from('word after all'));
  t.same(await known(reader, 'ships'), ['word after all']);
});
