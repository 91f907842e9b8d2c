import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  about,
  first,
  isAnything,
  isBlobRead,
  isManifest,
  isUpload,
  misdeed,
  status,
  wrongByte,
} from '../support/lies.js';
import { type Lie, startLyingProxy } from '../support/lying-proxy.js';
import { startThinifyRig } from './thinify-rig.js';

/*
 * thinify from and to a registry that does wrong: in the end the image is published whole, or
 * nothing of it is, and one line says why.
 */
t.setTimeout(400_000);
t.jobs = 3; // much of it is waiting
const { registry, thinify, freshCache, freshImage, isPublished, expectWhole } =
  await startThinifyRig(t);

const passing: Readonly<Record<string, Lie>> = {
  'bursts of 500': first(2, about(isAnything, status(500))),
  '429 for uploads': first(1, about(isUpload, status(429, { 'retry-after': '1' }))),
  'downloads that are cut': first(1, about(isBlobRead, misdeed({ kind: 'reset', after: 1000 }))),
  'answers to uploads that are lost': first(
    1,
    about(isUpload, misdeed({ kind: 'reset', after: 0 })),
  ),
  'wrong bytes of manifests': first(1, about(isManifest, wrongByte)),
  'wrong bytes of blobs': first(1, about(isBlobRead, wrongByte)),
};

for (const [name, lie] of Object.entries(passing)) {
  t.test(`${name}: published all the same`, { buffered: true }, async (t) => {
    const proxy = await startLyingProxy(t, registry, lie);
    const image = await freshImage(proxy.host);
    t.match(await thinify(freshCache(), '-q', image), { code: 0, stderr: '' });
    await expectWhole(t, image);
  });
}

const isCommit = ({ method, path }: { method: string; path: string }) =>
  method === 'PUT' && path.includes('/manifests/');

const failing: Readonly<Record<string, { lie: Lie; code: number }>> = {
  'no such image': { lie: about(isManifest, status(404)), code: 3 },
  'wrong layers': { lie: about(isBlobRead, wrongByte), code: 6 },
  'wrong manifests': { lie: about(isManifest, wrongByte), code: 6 },
  'uploads that fail': { lie: about(isUpload, status(503)), code: 5 },
  'uploads that are refused': { lie: about(isUpload, status(403)), code: 4 },
  'uploads that find no room': { lie: about(isUpload, status(507)), code: 7 },
  'manifests that are refused': { lie: about(isCommit, status(403)), code: 4 },
  'manifests that cannot be put': { lie: about(isCommit, status(500)), code: 5 },
};

for (const [name, { lie, code }] of Object.entries(failing)) {
  t.test(`${name}: one line, and nothing is published`, { buffered: true }, async (t) => {
    const proxy = await startLyingProxy(t, registry, lie);
    const image = await freshImage(proxy.host);
    const cache = freshCache();
    const made = await thinify(cache, '-q', image);
    t.equal(made.code, code, made.stderr);
    t.match(made.stderr, /^error: Cannot [^\n]+\n$/);
    t.equal(made.stdout, '');
    t.equal(await isPublished(image), false);
    t.same(readdirSync(join(cache, 'spool')), [], 'nothing is left here');
    if (code !== 5) return;
    proxy.tell();
    t.match(await thinify(cache, '-q', image), { code: 0, stderr: '' }, 'and then it works');
    await expectWhole(t, image);
  });
}
