import { resolve } from 'node:path';
import t from 'tap';
import { isThinError } from '../../src/errors.js';
import { blobPath, subjectPath, tagPath } from '../../src/store/object-paths.js';
import fc from '../support/properties.js';
import { madeUpDigest } from '../thin/made-up-chunks.js';

const digest = madeUpDigest('x');
const hex = digest.slice('sha256:'.length);

t.test('the usual names', async (t) => {
  t.equal(blobPath(digest), `blobs/sha256/${hex}`);
  t.equal(tagPath('docker.io/library/debian', '12'), 'refs/docker.io/library/debian/12.json');
  t.equal(tagPath('localhost:5000/a/b', 'v1.0_x-y'), 'refs/localhost:5000/a/b/v1.0_x-y.json');
  t.equal(tagPath('[::1]:5000/a', 'x'), 'refs/[::1]:5000/a/x.json');
  t.equal(subjectPath('docker.io/a', digest), `refs/docker.io/a/sha256-${hex}.json`);
});

t.test('names that have no place', async (t) => {
  const repositories = [
    '',
    '/',
    '..',
    '.',
    'a/..',
    'a/../b',
    '../a',
    './a',
    'a/./b',
    'a//b',
    '/a',
    'a/',
    'a/.hidden',
    'a b',
    'a\\b',
    'a\0b',
    'a%2e%2e',
    'a/é',
    'a/x.json',
    'a/[::1]',
    '[..]/a',
    'x'.repeat(251),
    'ab/'.repeat(400).concat('c'),
  ];
  for (const repository of repositories) {
    t.throws(() => tagPath(repository, 'v1'), { code: 'invalid' }, JSON.stringify(repository));
    t.throws(() => subjectPath(repository, digest), { code: 'invalid' });
  }
  for (const tag of ['', '.', '..', 'a/b', '-a', 'a'.repeat(129), 'a\n', '../x']) {
    t.throws(() => tagPath('a', tag), { code: 'invalid' }, JSON.stringify(tag));
  }
});

t.test('no name leaves refs/', async (t) => {
  const pieces = fc.constantFrom(
    '.',
    '..',
    '/',
    'a',
    ':',
    '-',
    '_',
    '[',
    ']',
    '\\',
    '%2f',
    '\n',
    '~',
  );
  const name = fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(name, name, (repository, tag) => {
      try {
        const path = resolve('/store', tagPath(repository, tag));
        return path.startsWith('/store/refs/') && path === `/store/refs/${repository}/${tag}.json`;
      } catch (error) {
        return isThinError(error, 'invalid');
      }
    }),
    { numRuns: 5000 },
  );
  t.pass();
});
