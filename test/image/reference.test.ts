import t from 'tap';
import { isThinError } from '../../src/errors.js';
import {
  formatReference,
  parseReference,
  parseRepository,
  referenceTarget,
} from '../../src/image/reference.js';
import fc from '../support/properties.js';

const sha256 = `sha256:${'a1'.repeat(32)}`;
const sha512 = `sha512:${'0f'.repeat(64)}`;

const normalised: Readonly<Record<string, string>> = {
  debian: 'docker.io/library/debian:latest',
  'debian:12': 'docker.io/library/debian:12',
  'team/app': 'docker.io/team/app:latest',
  'docker.io/debian': 'docker.io/library/debian:latest',
  'index.docker.io/debian:12': 'docker.io/library/debian:12',
  'localhost/app': 'localhost/app:latest',
  'localhost:5000/x': 'localhost:5000/x:latest',
  'localhost:5000/a/b/c:v1': 'localhost:5000/a/b/c:v1',
  'foo.com/app': 'foo.com/app:latest',
  'Foo/app': 'Foo/app:latest', // capitals make a host of it: docker's rule
  'foo:8080/bar:1.0': 'foo:8080/bar:1.0',
  '[::1]:5000/app': '[::1]:5000/app:latest',
  '[2001:db8::1]/app:v': '[2001:db8::1]/app:v',
  'a__b/c.d-e---f': 'docker.io/a__b/c.d-e---f:latest',
  [`debian@${sha256}`]: `docker.io/library/debian@${sha256}`,
  [`debian:12@${sha256}`]: `docker.io/library/debian:12@${sha256}`,
  [`r.io:1/x@${sha512}`]: `r.io:1/x@${sha512}`,
  'x:_a.b-C9': 'docker.io/library/x:_a.b-C9',
  [`a/${'b'.repeat(253)}`]: `docker.io/a/${'b'.repeat(253)}:latest`,
  [`x:${'t'.repeat(128)}`]: `docker.io/library/x:${'t'.repeat(128)}`,
};

t.test('references are normalised as docker does', async (t) => {
  for (const [text, wanted] of Object.entries(normalised)) {
    const reference = parseReference(text);
    t.equal(formatReference(reference), wanted);
    t.same(parseReference(wanted), reference, 'the full form reads back to the same');
  }
});

t.test('the digest decides over the tag', async (t) => {
  t.equal(referenceTarget(parseReference(`x:1@${sha256}`)), sha256);
  t.equal(referenceTarget(parseReference('x:1')), '1');
});

const refused: Readonly<Record<string, RegExp>> = {
  '': /empty/,
  ':tag': /names no repository/,
  'https://docker.io/x': /without https:/,
  'docker.io/': /names no repository/,
  'x:': /tag "" is malformed/,
  'x:.a': /tag/,
  [`x:${'t'.repeat(129)}`]: /tag/,
  'team/App': /capitals/,
  'a//b': /malformed/,
  'a/../b': /malformed/,
  './a': /malformed/,
  'a?b=c': /malformed/,
  'a b': /malformed/,
  a___b: /malformed/,
  'a..b/c': /registry|malformed/,
  'foo.com:99999/x': /registry/,
  'foo.com:0/x': /registry/,
  'foo.com:x/y': /registry/,
  '-foo.com/x': /registry/,
  [`a/${'b'.repeat(254)}`]: /256 characters/,
  ['x'.repeat(2000)]: /2000 characters/,
  [`x@sha256:${'a'.repeat(63)}`]: /digest is malformed/,
  [`x@sha256:${'A'.repeat(64)}`]: /digest is malformed/,
  [`x@${sha256}@${sha256}`]: /digest is malformed/,
  'x@md5:d41d8cd98f00b204e9800998ecf8427e': /digest is malformed/,
  ['a'.repeat(64)]: /image ID/,
};

t.test('everything else is refused with what is wrong', async (t) => {
  for (const [text, problem] of Object.entries(refused)) {
    t.throws(() => parseReference(text), { code: 'invalid', message: problem }, text.slice(0, 80));
  }
  t.throws(() => parseRepository('a/../b'), { code: 'invalid' });
});

const pieces = fc.constantFrom(
  ...['a', 'B', '0', '.', '_', '-', ':', '/', '@', '[', ']', 'localhost', sha256, ' ', '\0', 'é'],
);

t.test('any text gives a reference that reads back to the same, or one error', async () => {
  const text = fc.oneof(
    fc.string(),
    fc.array(pieces, { maxLength: 24 }).map((all) => all.join('')),
  );
  fc.assert(
    fc.property(text, (text) => {
      try {
        const full = formatReference(parseReference(text));
        // A tag may end with two dots; no component of a path is `.` or `..`.
        return (
          formatReference(parseReference(full)) === full &&
          !/[?#\s]|(^|[/:@])\.{1,2}($|[/:@])/.test(full)
        );
      } catch (error) {
        return isThinError(error, 'invalid');
      }
    }),
    { numRuns: 3000 },
  );
});
