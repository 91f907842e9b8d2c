import t from 'tap';
import { parseChallenges } from '../../src/registry/challenge.js';
import fc from '../support/properties.js';

function read(...headers: string[]): [string, Record<string, string>][] {
  return parseChallenges(headers).map(({ scheme, parameters }) => [
    scheme,
    Object.fromEntries(parameters),
  ]);
}

t.test('challenges as registries send them', async (t) => {
  t.same(
    read(
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push"',
    ),
    [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:library/debian:pull,push',
        },
      ],
    ],
  );
  t.same(read('Basic realm=test'), [['basic', { realm: 'test' }]]);
  t.same(read('BASIC Realm = "a, b=\\"c\\\\"'), [['basic', { realm: 'a, b="c\\' }]]);
  t.same(read('Negotiate, Basic realm="x"', 'Bearer realm="y"'), [
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
    ['bearer', { realm: 'y' }],
  ]);
  t.same(read('Negotiate YII/+a==, Basic realm="x"'), [
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
  ]);
  t.same(read(', ,Basic a=b , ,c="d"'), [['basic', { a: 'b', c: 'd' }]]);
});

t.test('what is malformed is left out', async (t) => {
  for (const header of ['', '"', '=x', '\0', 'é', `Bearer ${'a'.repeat(20_000)}`]) {
    t.same(read(header), [], JSON.stringify(header.slice(0, 20)));
  }
  t.same(read('Bearer realm="open'), [['bearer', {}]]);
  t.same(read('Bearer realm="a" b'), [['bearer', {}]], 'no comma after a parameter');
});

const scheme = fc.constantFrom('Basic', 'bearer', 'Digest', 'X-1');
const parameters = fc.dictionary(
  fc.constantFrom('realm', 'service', 'scope', 'error'),
  fc.string({ unit: 'grapheme-ascii', maxLength: 30 }),
  { minKeys: 1 },
);

t.test('what is written by the grammar is read back', async () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(scheme, parameters), { minLength: 1, maxLength: 4 }), (all) => {
      const header = all
        .map(([scheme, parameters]) => {
          const pairs = Object.entries(parameters).map(
            ([name, value]) => `${name}="${value.replace(/["\\]/g, '\\$&')}"`,
          );
          return `${scheme} ${pairs.join(', ')}`;
        })
        .join(', ');
      const expected = all.map(([scheme, parameters]) => [scheme.toLowerCase(), { ...parameters }]);
      return JSON.stringify(read(header)) === JSON.stringify(expected);
    }),
    { numRuns: 1000 },
  );
});

t.test('any text is read, at once', async () => {
  const piece = fc.constantFrom(
    'Bearer ',
    'realm',
    '=',
    '"',
    '\\',
    ',',
    ' ',
    '\t',
    'a',
    '/',
    '==',
    'é',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 300 }).map((all) => all.join('')),
  );
  fc.assert(
    fc.property(text, (text) =>
      parseChallenges([text]).every(
        ({ scheme }) => scheme !== '' && scheme === scheme.toLowerCase(),
      ),
    ),
    { numRuns: 3000 },
  );
});
