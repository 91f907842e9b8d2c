import {
  archive,
  base256,
  bytes,
  entry,
  file,
  gnuMagic,
  header,
  padded,
  pax,
  paxBody,
} from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const GiB = 2 ** 30;

/** L24, in all four forms: see src/layer/sparse-map.ts. */
export function sparseCases(): TortureCase[] {
  return [...oldCases(), ...recordCases(), ...lineCases(), ...hostileCases()];
}

type Pair = readonly [offset: number, length: number];

function sparseText(pairs: readonly Pair[], size: number, data: string): string {
  let content = '';
  let taken = 0;
  for (const [offset, length] of pairs) {
    content = content.padEnd(offset, '\0') + data.slice(taken, taken + length);
    taken += length;
  }
  return content.padEnd(size, '\0');
}

function octal(value: number): Buffer {
  const fits = value >= 0 && value < 8 ** 11;
  return fits ? bytes(`${value.toString(8).padStart(11, '0')}\0`) : base256(value, 12);
}

/** Type `S` with as many extension blocks as the pairs need. */
export function oldSparse(
  name: string,
  pairs: readonly Pair[],
  size: number,
  data: string,
): Buffer {
  const field = (some: readonly Pair[]) =>
    Buffer.concat(some.flatMap(([offset, length]) => [octal(offset), octal(length)]));
  const patch = new Map([
    [386, field(pairs.slice(0, 4))],
    [482, Buffer.from([pairs.length > 4 ? 1 : 0])],
    [483, octal(size)],
  ]);
  const blocks = [header({ name, type: 'S', magic: gnuMagic, size: data.length, patch })];
  for (let at = 4; at < pairs.length; at += 21) {
    const block = Buffer.alloc(512);
    field(pairs.slice(at, at + 21)).copy(block);
    block[504] = pairs.length > at + 21 ? 1 : 0;
    blocks.push(block);
  }
  return Buffer.concat([...blocks, padded(bytes(data))]);
}

function mapOf(pairs: readonly Pair[]): string {
  return pairs.flat().join(',');
}

function linesOf(pairs: readonly Pair[]): Buffer {
  return padded(bytes(`${[pairs.length, ...pairs.flat()].join('\n')}\n`));
}

function lines(name: string, pairs: readonly Pair[], size: number, data: string): Buffer {
  const records = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' };
  return Buffer.concat([
    pax({ ...records, 'GNU.sparse.name': name, 'GNU.sparse.realsize': `${size}` }),
    file(`GNUSparseFile.1/${name}`, Buffer.concat([linesOf(pairs), bytes(data)])),
  ]);
}

const pairs: readonly Pair[] = [
  [0, 3],
  [1000, 4],
  [5000, 0],
];
const data = 'onetwo!';
const content = sparseText(pairs, 5000, data);
const manyPairs = Array.from({ length: 60 }, (_, index): Pair => [index * 10, 2]);
const manyData = 'ab'.repeat(60);

function oldCases(): TortureCase[] {
  return [
    {
      rule: 'L24',
      name: 'old GNU form, in the header and with extension blocks',
      layers: [
        archive(
          oldSparse('few', pairs, 5000, data),
          oldSparse('many', manyPairs, 600, manyData),
          oldSparse('hole', [[4096, 0]], 4096, ''),
          oldSparse('full', [[0, 5]], 5, 'whole'),
          file('next', 'x'),
        ),
      ],
      expected: {
        few: { type: 'file', size: 5000, content },
        many: { type: 'file', content: sparseText(manyPairs, 600, manyData) },
        hole: { type: 'file', content: '\0'.repeat(4096) },
        full: { type: 'file', content: 'whole' },
        next: { type: 'file', content: 'x' },
      },
      umociDiffers: 'refuses it',
    },
  ];
}

function recordCases(): TortureCase[] {
  const named = { 'GNU.sparse.name': 'sparse', 'GNU.sparse.size': '5000' };
  return [
    {
      rule: 'L24',
      name: 'PAX 0.0: a record for every number',
      layers: [
        archive(
          paxBody([
            ['GNU.sparse.size', '5000'],
            ['GNU.sparse.numblocks', '3'],
            ...pairs.flatMap(([offset, length]): [string, string][] => [
              ['GNU.sparse.offset', `${offset}`],
              ['GNU.sparse.numbytes', `${length}`],
            ]),
          ]),
          file('sparse', data),
          file('next', 'x'),
        ),
      ],
      expected: { sparse: { type: 'file', content }, next: { type: 'file', content: 'x' } },
    },
    {
      rule: 'L24',
      name: 'PAX 0.1: one record with all numbers',
      layers: [
        archive(
          pax({ ...named, 'GNU.sparse.numblocks': '3', 'GNU.sparse.map': mapOf(pairs) }),
          file('GNUSparseFile.1/sparse', data),
          file('next', 'x'),
        ),
      ],
      expected: { sparse: { type: 'file', content }, next: { type: 'file', content: 'x' } },
    },
    {
      rule: 'L24',
      name: 'numbers of PAX 0.0 in the wrong order are refused',
      layers: [
        archive(
          paxBody([
            ['GNU.sparse.size', '5'],
            ['GNU.sparse.numbytes', '5'],
            ['GNU.sparse.offset', '0'],
          ]),
          file('sparse', 'whole'),
        ),
      ],
      expected: /GNU\.sparse\.numbytes is out of order/,
    },
    {
      rule: 'L24',
      name: 'a count that is not that of the map is refused',
      layers: [
        archive(
          pax({ ...named, 'GNU.sparse.numblocks': '9', 'GNU.sparse.map': mapOf(pairs) }),
          file('sparse', data),
        ),
      ],
      expected: /a sparse map has 6 numbers \(wanted 9 pairs\)/,
    },
  ];
}

function lineCases(): TortureCase[] {
  return [
    {
      rule: 'L24',
      name: 'PAX 1.0: the map in front of the data, over several blocks too',
      layers: [
        archive(
          lines('sparse', pairs, 5000, data),
          lines('many', manyPairs, 700, manyData),
          lines('nothing', [], 100, ''),
          file('next', 'x'),
        ),
      ],
      expected: {
        sparse: { type: 'file', content },
        many: { type: 'file', content: sparseText(manyPairs, 700, manyData) },
        nothing: { type: 'file', content: '\0'.repeat(100) },
        next: { type: 'file', content: 'x' },
      },
    },
    {
      rule: 'L24',
      name: 'a map that is longer than its entry is refused',
      layers: [
        archive(
          pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' }),
          file('sparse', padded(bytes('400\n'))),
          file('next', '1\n'.repeat(400)),
        ),
      ],
      expected: /a sparse map leaves its entry/,
    },
    {
      rule: 'L24',
      name: 'a map whose lines are no numbers is refused',
      layers: [
        archive(
          pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' }),
          file('sparse', `${'9'.repeat(2000)}\n`),
        ),
      ],
      expected: /a sparse map has lines that are no numbers/,
    },
    {
      rule: 'L24',
      name: 'a form that nobody knows is refused',
      layers: [
        archive(
          pax({ 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' }),
          file('sparse', 'x'),
        ),
      ],
      expected: /a sparse file has format 2\.0/,
      umociDiffers: 'reads the data as it is stored',
    },
  ];
}

function hostileCases(): TortureCase[] {
  const wrongMaps: Record<string, readonly Pair[]> = {
    overlap: [
      [0, 4],
      [3, 3],
    ],
    'go backwards': [
      [10, 4],
      [0, 3],
    ],
    'leave the file': [[4998, 7]],
    'have fewer bytes than are stored': [[0, 6]],
    'have more bytes than are stored': [[0, 8]],
  };
  return [
    ...Object.entries(wrongMaps).flatMap(([what, wrong]) =>
      [oldSparse('s', wrong, 5000, data), lines('s', wrong, 5000, data)].map((bad) => ({
        rule: 'L24',
        name: `segments that ${what} are refused`,
        layers: [archive(bad)],
        expected: /sparse (bytes at|map has places)/,
      })),
    ),
    {
      rule: 'L28',
      name: 'a file of 9 GiB, nearly all hole',
      layers: [archive(oldSparse('large', [[9 * GiB - 4, 4]], 9 * GiB, 'last'), file('next', 'x'))],
      expected: { large: { type: 'file', size: 9 * GiB }, next: { type: 'file', content: 'x' } },
      umociDiffers: 'refuses it',
    },
    {
      rule: 'L24',
      name: 'a file of terabytes of holes is refused',
      layers: [archive(oldSparse('bomb', [[2000 * GiB, 0]], 2000 * GiB, ''))],
      expected: /an entry has 2147483648000 bytes/,
    },
    {
      rule: 'L24',
      name: 'many files of holes are refused',
      layers: [
        archive(...[1, 2, 3].map((index) => oldSparse(`s${index}`, [[30 * GiB, 0]], 30 * GiB, ''))),
      ],
      expected: /more than 68719476736 bytes of holes/,
    },
    {
      rule: 'L24',
      name: 'a negative size is refused: other files of holes would count for less',
      layers: [archive(oldSparse('s', [], -5, ''))],
      expected: /a sparse file has -5 bytes/,
    },
    {
      rule: 'L24',
      name: 'a map of too many segments is refused',
      layers: [
        archive(
          pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' }),
          file('sparse', padded(bytes('65537\n'))),
        ),
      ],
      expected: /a sparse map has 65537 segments \(wanted at most 65536\)/,
    },
    {
      rule: 'L24',
      name: 'a sparse directory is refused',
      layers: [
        archive(
          pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'd' }),
          entry({ name: 'x', type: '5' }),
        ),
      ],
      expected: /a sparse entry is no file/,
    },
  ];
}
