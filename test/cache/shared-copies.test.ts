import { randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import type { FileRef } from '../../src/cache/file-origin.js';
import type { CopyEnd, CopyTarget, SharedCopy, SharedFiles } from '../../src/cache/shared-files.js';
import type { Digest } from '../../src/digest.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';

/** What nodes have in common on a file system that hangs: copies begin, and end when they are told to. */
class HangingFolder implements SharedFiles {
  readonly directory = '/nowhere';
  readonly here = true;
  readonly direct = false;
  readonly targets = new Map<Digest, CopyTarget>();
  readonly #ends = new Map<Digest, (became: CopyEnd) => void>();

  read = async () => undefined;
  has = async () => false;
  wrong = () => undefined;
  mounted = () => undefined;
  offer = () => undefined;
  offerAll = () => undefined;

  copy({ content }: FileRef, to: CopyTarget, _offset: number, length: number): SharedCopy {
    writeFileSync(to.incoming, 'a part of it');
    this.targets.set(content, to);
    const end = new Promise<CopyEnd>((resolve) => this.#ends.set(content, resolve));
    const bytes = length > 0 ? undefined : new Promise<undefined>(() => undefined);
    return { bytes: Promise.resolve(bytes), end };
  }

  end(content: Digest, became: CopyEnd): void {
    this.#ends.get(content)?.(became);
  }

  endCopies(): void {
    for (const end of this.#ends.values()) end('unknown');
  }
}

function image(count: number, size: number): MemoryOrigin {
  const files = Array.from({ length: count }, () => randomBytes(size));
  return new MemoryOrigin('image', files, 4 * 1024 * 1024, 4 * 1024 * 1024);
}

t.test('nobody waits for copies that hang, and what becomes of them is found out', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const shared = new HangingFolder();
  const cache = await FileCache.open(cacheOptions(root, { shared }));
  const origin = image(20, 5000);
  const stop = new AbortController();
  const prefetch = cache.prefetch({ origin, signal: stop.signal });
  for (const file of origin.refs()) prefetch.add({ ...file, offset: 0, length: file.size });
  await until(() => shared.targets.size > 1);
  stop.abort();
  await prefetch.settled();
  const [first, second] = shared.targets.keys();
  if (!first || !second) throw new Error('two at least');
  // Its process was killed behind its last step.
  writeFileSync(shared.targets.get(first)?.path ?? '', origin.bytesOf({ content: first }));
  shared.end(first, 'unknown');
  await until(async () => (await cache.usage()).completeFiles === 1);
  shared.end(second, 'there');
  await cache[Symbol.asyncDispose]();
  const left = readdirSync(join(root, 'tiers/local/.incoming'));
  const name = shared.targets.get(second)?.incoming.split('/').at(-1);
  t.same(left, [name], 'only what another has put there is left to it');
});

t.test('so much is copied at a time, and a read of a large file does not wait', async (t) => {
  const shared = new HangingFolder();
  const cache = await openCache(t, join(scratchDirectory(t), 'root'), { shared });
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset()); // before the cache is closed, which takes a second
  const origin = image(8, 7_000_000);
  for (const file of origin.refs()) {
    const bytes = await cache.read(file, 6_000_000, 10, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file).subarray(6_000_000, 6_000_010)));
    await cache.read(file, 5_000_000, 10, origin, signal);
  }
  t.equal(shared.targets.size, 4, '32 MiB hold four of them');
  mock.timers.tick(30_000);
  const [, , , , fifth] = origin.refs();
  if (!fifth) throw new Error('eight files');
  await cache.read(fifth, 1_000_000, 10, origin, signal);
  t.equal(shared.targets.size, 5, 'those that hang are not waited for');
});

t.test('what is here, in any tier, is not copied beside what is read', async (t) => {
  const directory = scratchDirectory(t);
  const shared = new HangingFolder();
  const cache = await openCache(t, join(directory, 'root'), {
    tiers: [
      {
        name: 'fast',
        directory: join(directory, 'fast'),
        quotaBytes: 1e9,
        freeSpaceFloorBytes: 0,
      },
    ],
    shared,
  });
  const origin = image(10, 5000);
  const files = origin.refs();
  using hold = cache.hold();
  for (const [at, tier] of ['fast', 'local'].entries()) {
    const writer = cache.fileWriter(hold, { tier });
    const file = files[at];
    if (file) await writer.write(origin.bytesOf(file));
    await writer.commit();
  }
  const read = files[5];
  if (!read) throw new Error('ten files');
  await cache.read(read, 0, 10, origin, signal);
  await until(() => shared.targets.size === 8);
  t.notOk(files.slice(0, 2).some(({ content }) => shared.targets.has(content)));
});
