import { readFileSync } from 'node:fs';
import t from 'tap';
import { exitCodeOf, exitCodeOfSignal, exitCodes } from '../src/cli/exit-code.js';
import { digestBytes, digestFromBytes, digestOf, parseDigest } from '../src/digest.js';
import {
  describeError,
  errorCodes,
  fromSystemError,
  isThinError,
  ThinError,
} from '../src/errors.js';

t.test('every code has its own exit code, none that means success or a defect', async (t) => {
  const codes = errorCodes.map((code) => exitCodes[code]);
  t.equal(new Set(codes).size, errorCodes.length);
  t.notOk(codes.includes(0) || codes.includes(1));
  t.equal(exitCodeOf(new ThinError('corrupt', 'x')), 6);
  t.equal(exitCodeOf(new TypeError('a defect')), 1);
  t.equal(exitCodeOfSignal('SIGTERM'), 143);
});

t.test('system errors are converted once', async (t) => {
  const own = new ThinError('denied', 'mine');
  t.equal(fromSystemError('Cannot x', own), own);
  const ofBundle = Object.assign(new Error('bad'), { name: 'ThinError', code: 'corrupt' });
  t.equal(fromSystemError('Cannot x', ofBundle), ofBundle, 'of another copy of the class');
  try {
    readFileSync('/no/such/file');
  } catch (error) {
    const converted = fromSystemError('Cannot read it', error);
    t.equal(converted.code, 'not-found');
    t.match(converted.message, /^Cannot read it: ENOENT/);
    t.equal(converted.cause, error);
  }
  t.equal(
    fromSystemError('Cannot x', Object.assign(new Error('full'), { code: 'EDQUOT' })).code,
    'no-space',
  );
  t.equal(fromSystemError('Cannot x', 'a string').code, 'unavailable');
});

t.test('a chain is told without repeating itself', async (t) => {
  const inner = new Error('connection refused');
  const outer = new ThinError('unavailable', 'Cannot fetch: connection refused', { cause: inner });
  t.equal(describeError(outer), 'Cannot fetch: connection refused');
  t.equal(
    describeError(new ThinError('denied', 'Cannot a', { cause: inner })),
    'Cannot a: connection refused',
  );
  t.ok(isThinError(outer, 'unavailable', 'denied'));
  t.notOk(isThinError(outer, 'denied'));
});

t.test('digests are canonical or refused', async (t) => {
  const digest = digestOf(Buffer.from('abc'));
  t.equal(digest, 'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  t.equal(digestFromBytes(digestBytes(digest)), digest);
  for (const text of [
    '',
    'sha256:',
    digest.toUpperCase(),
    `${digest}0`,
    `${digest}\n`,
    digest.replace('sha256', 'sha512'),
    '../../etc/passwd',
  ]) {
    t.throws(() => parseDigest(text), { code: 'invalid' });
  }
  t.throws(() => digestFromBytes(Buffer.alloc(40), 9), { code: 'corrupt' });
});
