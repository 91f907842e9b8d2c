import t from 'tap';
import type { Frame } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { ChunkMap, Placement } from '../../src/thin/chunk-map.js';
import { deltaBaseBytesMax, deltaBasesMax, type HotDelta } from '../../src/thin/hot-delta.js';
import { encodeHotIndex, type HotCommand, parseHotIndex } from '../../src/thin/hot-index.js';
import { HotOverlay } from '../../src/thin/hot-overlay.js';

const named = (name: string) => digestOf(Buffer.from(name));
const chunk = (name: string, length = 100) => ({ digest: named(name), length });

/** Two frames of two chunks, the second one told from two chunks of another image. */
function trained(change: Partial<HotDelta> = {}): HotCommand {
  const frames = [
    { length: 150, codec: 'zstd' as const, chunks: [chunk('a'), chunk('b')] },
    { length: 160, codec: 'zstd' as const, chunks: [chunk('c'), chunk('d')] },
  ];
  const delta: HotDelta = {
    image: named('the other image'),
    pack: { digest: named('deltas'), size: 40 },
    frames: [
      { number: 0, length: 30, digest: named('0'), bases: [chunk('x')] },
      { number: 1, length: 10, digest: named('1'), bases: [chunk('y', 200), chunk('x')] },
    ],
    ...change,
  };
  return { args: ['a'], runs: 1, pack: { digest: named('hot'), size: 310 }, frames, delta };
}

function encoded(command: HotCommand): Buffer {
  const recordings = { ...{ digest: named('r'), size: 1 }, plainDigest: named('p'), plainSize: 1 };
  const image = named('image');
  return encodeHotIndex({ image, platform: 'linux/amd64', recordings, commands: [command] });
}

function read(bytes: Buffer): HotCommand {
  const [command] = parseHotIndex(bytes).commands;
  if (!command) throw new Error('there is one command');
  return command;
}

t.test('round trip, with and without', async (t) => {
  const command = trained();
  t.same(read(encoded(command)), command);
  const { delta: _, ...bare } = command;
  t.same(read(encoded(bare)), bare, 'as it was before there were deltas');
});

t.test('one that cannot be used is passed over, and the rest is not', async (t) => {
  const { delta: _, ...bare } = trained();
  const stored = JSON.parse(encoded(trained()).toString());
  const spoilt: [string, (delta: Record<string, unknown>) => void][] = [
    ['not an object', () => {}],
    ['no pack', (delta) => delete delta.pack],
    ['digest', (delta) => Object.assign(delta, { image: 'sha256:0' })],
    ['no frames', (delta) => Object.assign(delta, { frames: [], digests: '', bases: [] })],
    [
      'fraction',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [0, 30.5, 1],
            [1, 9.5, 2],
          ],
        }),
    ],
    [
      'negative number',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [-1, 30, 1],
            [1, 10, 2],
          ],
        }),
    ],
    [
      'frame twice',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [1, 30, 1],
            [1, 10, 2],
          ],
        }),
    ],
    [
      'frame that is not there',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [0, 30, 1],
            [2, 10, 2],
          ],
        }),
    ],
    [
      'larger than plain',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [0, 300, 1],
            [1, 10, 2],
          ],
          pack: { digest: named('deltas'), size: 310 },
        }),
    ],
    [
      'other sum',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [0, 30, 1],
            [1, 11, 2],
          ],
        }),
    ],
    [
      'too few bases',
      (delta) =>
        Object.assign(delta, {
          frames: [
            [0, 30, 1],
            [1, 10, 3],
          ],
        }),
    ],
    ['too many bases', (delta) => Object.assign(delta, { bases: [0, 1, 0, 0] })],
    ['base that is not there', (delta) => Object.assign(delta, { bases: [0, 2, 0] })],
    ['digests', (delta) => Object.assign(delta, { digests: 'AAAA' })],
    ['chunks', (delta) => Object.assign(delta, { chunks: 'AAAA' })],
    ['length', (delta) => Object.assign(delta, { lengths: [0, 200] })],
    ['huge length', (delta) => Object.assign(delta, { lengths: [100, 2 ** 40] })],
  ];
  for (const [name, spoil] of spoilt) {
    const index = structuredClone(stored);
    const [command] = index.commands;
    spoil(command.delta);
    if (name === 'not an object') command.delta = 'delta';
    t.same(read(Buffer.from(JSON.stringify(index))), bare, name);
  }
  const most = deltaBaseBytesMax / 4;
  const bases = (count: number) => Array.from({ length: count }, (_, at) => chunk(`${at}`, most));
  const of = (count: number) => ({
    pack: { digest: named('deltas'), size: 30 },
    frames: [{ number: 0, length: 30, digest: named('0'), bases: bases(count) }],
  });
  t.equal(read(encoded(trained(of(4)))).delta?.frames.length, 1);
  t.equal(read(encoded(trained(of(5)))).delta, undefined, 'more than is kept in memory');
  const many = (count: number) => {
    const bases = Array.from({ length: count }, (_, at) => chunk(`${at}`, 1));
    const frames = [{ number: 0, length: 30, digest: named('0'), bases }];
    return trained({ pack: { digest: named('deltas'), size: 30 }, frames });
  };
  t.equal(read(encoded(many(deltaBasesMax))).delta?.frames.length, 1);
  t.equal(read(encoded(many(deltaBasesMax + 1))).delta, undefined, 'more than is looked for');
});

t.test('frames whose bases are here stand before those of the hot pack', async (t) => {
  const command = trained();
  const own: Frame = {
    pack: named('own'),
    offset: 0,
    length: 400,
    plainLength: 400,
    codec: 'stored',
  };
  const map = {
    find: () => ({ length: 100 }),
    placementsOf: (digest: Digest) => [
      {
        content: digest,
        size: 100,
        offsetInFile: 0,
        chunk: { ...chunk(''), digest, frame: own, offsetInFrame: 0 },
      },
    ],
  } as unknown as ChunkMap;
  const overlay = new HotOverlay(map, command, ({ digest }) => digest === named('x'));
  const nearer = (name: string) => {
    const found = overlay.nearer({ ...chunk(name), frame: own, offsetInFrame: 0 });
    return found && { pack: found.frame.pack, offset: found.frame.offset, at: found.offsetInFrame };
  };
  const [hot, deltas] = [named('hot'), named('deltas')];
  t.same(nearer('b'), { pack: deltas, offset: 0, at: 100 });
  t.same(nearer('d'), { pack: hot, offset: 150, at: 100 }, 'a base is missing');
  const frame: Frame = { pack: deltas, offset: 0, length: 30, plainLength: 200, codec: 'zstd' };
  t.match(overlay.deltaOf(frame), {
    instead: { pack: hot, offset: 0, length: 150, plainLength: 200 },
  });
  t.equal(overlay.deltaOf({ ...frame, pack: hot }), undefined);
  const places = overlay.placementsIn(frame)?.map(({ chunk }: Placement) => chunk.offsetInFrame);
  t.same(places, [0, 100]);
  t.equal([...overlay.places()].length, 4, 'each chunk once');
  overlay.forsake(frame);
  t.same(nearer('b'), { pack: hot, offset: 0, at: 100 }, 'the hot pack has the same');
  overlay.forsake({ ...frame, pack: hot, length: 150 });
  t.equal(nearer('b'), undefined);
});
