import { randomBytes } from 'node:crypto';
import t from 'tap';
import { zstdCompressDelta } from '../../native-bindings/zstd.js';
import type { Frame } from '../../src/chunk/frame.js';
import { DeltaFrames } from '../../src/daemon/delta-frames.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import type { RunOptions } from '../../src/store/frame-run.js';
import type { CountedFrameSource, FrameFetchOptions } from '../../src/store/frame-source.js';

const { signal } = new AbortController();
const base = randomBytes(50_000);
const plain = Buffer.concat([Buffer.from('new'), base]);
const chunk = { digest: digestOf(base), length: base.length };
const bytes = await zstdCompressDelta(plain, base, 3);
const named = (name: string) => digestOf(Buffer.from(name));
const sizes = { length: plain.length, plainLength: plain.length };
const instead: Frame = { pack: named('hot'), offset: 7, ...sizes, codec: 'stored' };
const frame: Frame = {
  ...instead,
  pack: named('deltas'),
  offset: 9,
  length: bytes.length,
  codec: 'zstd',
};
const other: Frame = { ...instead, pack: named('other') };

interface Lies {
  readonly bytes?: Buffer;
  readonly base?: Buffer | undefined;
  readonly digest?: Digest;
  readonly gone?: boolean;
  readonly down?: boolean;
}

/** @returns the frames, and the names of those that were asked for */
function framesWith(lies: Lies = {}): { frames: DeltaFrames; asked: string[] } {
  const asked: string[] = [];
  const digest = lies.digest ?? digestOf(bytes);
  const answer = ({ pack, codec }: Frame, options: FrameFetchOptions): Buffer => {
    const isDelta = pack === frame.pack;
    asked.push(isDelta ? 'delta' : pack === other.pack ? 'other' : 'hot');
    if (!isDelta) return plain;
    t.equal(codec, 'stored', 'to all behind it');
    if (lies.gone) throw new ThinError('not-found', 'it is gone');
    if (lies.down) throw new ThinError('unavailable', 'it is down');
    const sent = lies.bytes ?? bytes;
    t.equal(options.isSound?.(sent), digestOf(sent) === digest);
    return sent;
  };
  const origin: CountedFrameSource = {
    fetchFrame: async (of, _, options = {}) => answer(of, options),
    fetchRun: async (run, _, { onFrame, checkOf }) => {
      for (const one of run) {
        const sent = answer(one, { isSound: checkOf?.(one) });
        onFrame(one, Promise.resolve(sent));
      }
    },
    link: () => ({ roundTripMs: 20, bytesPerSecond: undefined }),
    counts: () => [],
    trouble: () => undefined,
  };
  const delta = { number: 0, length: bytes.length, digest, bases: [chunk] };
  const frames = new DeltaFrames(origin, {
    deltaOf: ({ pack }) => (pack === frame.pack ? { delta, instead } : undefined),
    readBase: async () => ('base' in lies ? lies.base : base),
  });
  return { frames, asked };
}

async function fetchRun(frames: DeltaFrames, of: Frame): Promise<Buffer | undefined> {
  const came: Promise<Buffer>[] = [];
  const onFrame: RunOptions['onFrame'] = (told, coming) => {
    t.equal(told, of);
    came.push(coming);
  };
  await frames.fetchRun([of], signal, { background: false, onFrame, checkOf: () => undefined });
  return came[0];
}

t.test('plain bytes are made of what is here', async (t) => {
  const { frames, asked } = framesWith();
  t.ok((await frames.fetchFrame(frame, signal)).equals(plain));
  t.ok((await fetchRun(frames, frame))?.equals(plain));
  t.ok((await frames.fetchFrame(other, signal)).equals(plain));
  t.ok((await fetchRun(frames, other))?.equals(plain));
  t.same(asked, ['delta', 'delta', 'other', 'other']);
  t.equal(frames.link().roundTripMs, 20);
});

t.test('what cannot be made comes from the hot pack', async (t) => {
  const shorter = base.subarray(1);
  const cases: [string, Lies][] = [
    ['the pack is gone', { gone: true }],
    ['other bytes', { bytes: randomBytes(bytes.length) }],
    ['fewer bytes', { bytes: bytes.subarray(1) }],
    ['another digest', { digest: named('what?') }],
    ['bytes that are no frame', { bytes: plain, digest: digestOf(plain) }],
    ['the base is gone', { base: undefined }],
    ['the base is shorter', { base: shorter }],
    ['the base is another', { base: randomBytes(base.length) }],
  ];
  for (const [name, lies] of cases) {
    const { frames, asked } = framesWith(lies);
    t.ok((await frames.fetchFrame(frame, signal)).equals(plain), name);
    t.ok((await fetchRun(frames, frame))?.equals(plain), `${name}, in a run`);
    t.same(asked, ['delta', 'hot', 'delta', 'hot'], name);
  }
});

t.test('what turned out wrong is not made a second time', async (t) => {
  const { frames, asked } = framesWith();
  t.ok((await frames.fetchFrame(frame, signal, { fresh: true })).equals(plain));
  t.same(asked, ['hot']);
});

t.test('an outage is told: who asks waits for it to end', async (t) => {
  const { frames, asked } = framesWith({ down: true });
  await t.rejects(frames.fetchFrame(frame, signal), { code: 'unavailable' });
  await t.rejects(fetchRun(frames, frame), { code: 'unavailable' });
  t.same(asked, ['delta', 'delta']);
});
