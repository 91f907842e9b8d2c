import t from 'tap';
import { DigestSet, GrowingDigestSet } from '../../src/cache/digest-set.js';
import { type Digest, digestBytes, digestOf } from '../../src/digest.js';

const numbered = (at: number) => digestOf(Buffer.from(`file ${at}`));

t.test('what was added is there, what was deleted is not', async (t) => {
  const set = new DigestSet(1024);
  t.ok(set.add(numbered(1)));
  t.notOk(set.add(numbered(1)));
  t.ok(set.has(numbered(1)));
  t.notOk(set.has(numbered(2)));
  set.delete(numbered(2));
  set.delete(numbered(1));
  t.notOk(set.has(numbered(1)));
  t.ok(set.add(numbered(1)));
});

t.test('nothing is there that was not added, however full it is', async (t) => {
  const set = new DigestSet(1024);
  for (let at = 0; at < 20_000; at++) set.add(numbered(at));
  let wrong = 0;
  for (let at = 20_000; at < 40_000; at++) if (set.has(numbered(at))) wrong++;
  t.equal(wrong, 0);
  let kept = 0;
  for (let at = 0; at < 20_000; at++) if (set.has(numbered(at))) kept++;
  t.equal(kept, 1024, 'and it holds what it can');
  t.ok(set.has(numbered(19_999)), 'the last of all is among them');
});

t.test('digests of one row push each other out, one at a time', async (t) => {
  const set = new DigestSet(1024);
  const alike = (at: number) => `sha256:${'ab'.repeat(4)}${String(at).padStart(56, '0')}` as Digest;
  const far = (at: number) =>
    `sha256:abababab1${at.toString(16).padStart(7, '0')}${'0'.repeat(48)}` as Digest;
  set.add(alike(1));
  t.ok(set.has(alike(2)), 'of a digest 64 bits count');
  for (let at = 1; at <= 3; at++) set.add(far(at));
  t.ok(set.has(alike(1)));
  for (let at = 4; at <= 40; at++) {
    set.add(far(at));
    t.ok(set.has(far(at)));
    let kept = 0;
    for (let other = 1; other <= at; other++) if (set.has(far(other))) kept++;
    t.ok(kept >= 3 && kept <= 4, `${kept}`);
  }
});

t.test('a set that grows holds all that was added, and nothing else', async (t) => {
  const set = new GrowingDigestSet();
  const count = 20_000;
  for (let at = 0; at < count; at++) {
    // As text and as bytes they are the same.
    const isNew = at % 2 === 0 ? set.add(numbered(at)) : set.add(digestBytes(numbered(at)));
    if (!isNew || set.add(numbered(at))) t.fail(`file ${at}`);
  }
  let wrong = 0;
  for (let at = 0; at < 2 * count; at++) if (set.has(numbered(at)) !== at < count) wrong++;
  t.equal(wrong, 0);
  const zeros = `sha256:${'0'.repeat(64)}` as Digest;
  t.notOk(set.has(zeros));
  t.ok(set.add(zeros));
  t.ok(set.has(zeros));
  set.clear();
  t.notOk(set.has(numbered(1)));
});
