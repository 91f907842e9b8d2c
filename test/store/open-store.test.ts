import { existsSync } from 'node:fs';
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import { failsWith, never, putRandom, readAll } from './store-suite.js';

t.test('a directory is made for who writes, and must be there for who reads', async (t) => {
  const folder = join(t.testdir({}), 'new', 'store');
  await failsWith(t, 'not-found', openStore(`dir:${folder}`, {}, never));
  await using writable = await openWritableStore(`dir:${folder}`, {}, never);
  const { blob, bytes } = await putRandom(writable.store, 100);
  await using opened = await openStore(`dir:${folder}`, {}, never);
  t.ok((await readAll(opened.store, blob)).equals(bytes));
  t.equal(opened.store.toString(), `dir:${folder}`);
  t.notOk('putBlob' in opened.store, 'a reader gets nothing to write with');
});

t.test('a file is no store', async (t) => {
  const file = join(t.testdir({ file: '' }), 'file');
  await failsWith(t, 'invalid', openStore(`dir:${file}`, {}, never));
  await failsWith(t, ['invalid', 'busy'], openWritableStore(`dir:${file}`, {}, never));
});

t.test('where the others are', async (t) => {
  const places: Record<string, string> = {
    'http://user:secret@127.0.0.1:1/some/path?signature=secret': 'http://127.0.0.1:1/some/path/',
    'https://example.test': 'https://example.test/',
    's3://bucket': 's3://bucket/',
    's3://bucket/a//b/': 's3://bucket/a/b/',
    'localhost:5000/team/app': 'localhost:5000/team/app',
    debian: 'docker.io/library/debian',
  };
  for (const [location, shown] of Object.entries(places)) {
    await using opened = await openStore(location, {}, never);
    t.equal(opened.store.toString(), shown);
  }
});

t.test('locations that are none', async (t) => {
  for (const location of [
    '',
    'ftp://x/y',
    's3://',
    's3://-/x',
    's3://b/x?y',
    'UPPER/Case',
    'a b',
  ]) {
    await failsWith(t, 'invalid', openStore(location, {}, never));
    await failsWith(t, 'invalid', openWritableStore(location, {}, never));
  }
});

t.test('a web server is not written to, and its password not told', async (t) => {
  const location = 'https://user:secret@example.test/x?signature=secret';
  await failsWith(t, 'invalid', openWritableStore(location, {}, never));
  await t.rejects(openWritableStore(location, {}, never), { message: /^((?!secret).)*$/ });
});

t.test('what a killed writer left is removed when its time has come', async (t) => {
  const folder = t.testdir({ tmp: { old: 'x', new: 'x' } });
  const dayBefore = Date.now() / 1000 - 25 * 60 * 60;
  await utimes(join(folder, 'tmp/old'), dayBefore, dayBefore);
  await writeFile(join(folder, 'tmp/new'), 'still written to');
  await using _ = await openWritableStore(`dir:${folder}`, {}, never);
  t.equal(existsSync(join(folder, 'tmp/old')), false);
  t.equal(existsSync(join(folder, 'tmp/new')), true);
});
