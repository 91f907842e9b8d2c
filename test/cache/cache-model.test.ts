import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { isThinError } from '../../src/errors.js';
import fc from '../support/properties.js';
import { cacheOptions, signal, until } from './cache-rig.js';
import { FaultyDisk, operations } from './faulty-disk.js';
import { MemoryOrigin } from './memory-origin.js';
import { partialFiles, tierFiles, wrongTierFiles } from './tier-listing.js';

/*
 * The cache against a model that is as simple as can be: the files never change, so every read must
 * return their bytes, whatever was done to the disk, the index and the process in between.
 */

const noise = (seed: string, size: number) => {
  const parts: Buffer[] = [];
  for (let at = 0; at * 32 < size; at++) {
    parts.push(createHash('sha256').update(`${seed} ${at}`).digest());
  }
  return Buffer.concat(parts).subarray(0, size);
};

const sharedPart = noise('shared', 30_000);
/** Two images that share files and parts of files. */
const origins = [
  new MemoryOrigin(
    'first',
    [
      ...Array.from({ length: 12 }, (_, at) => noise(`small ${at}`, 1 + at * 137)),
      noise('middle', 20_000),
      Buffer.concat([sharedPart, noise('x', 4000)]),
    ],
    2000,
    8000,
  ),
  new MemoryOrigin(
    'second',
    [
      ...Array.from({ length: 12 }, (_, at) => noise(`small ${at + 6}`, 1 + (at + 6) * 137)),
      noise('middle', 20_000),
      Buffer.concat([sharedPart, noise('y', 7000)]),
      Buffer.alloc(25_000),
    ],
    1500,
    8000,
  ),
];

type Step =
  | {
      readonly do: 'read';
      readonly origin: number;
      readonly file: number;
      readonly from: number;
      readonly length: number;
    }
  | {
      readonly do:
        | 'read all'
        | 'reopen'
        | 'crash'
        | 'power cut'
        | 'lose index'
        | 'damage index'
        | 'gc'
        | 'scrub'
        | 'no space'
        | 'bad disk'
        | 'good disk';
    }
  | {
      readonly do: 'corrupt';
      readonly how: 'flip' | 'cut' | 'empty' | 'grow' | 'swap' | 'delete';
      readonly which: number;
    };

const read = fc.record({
  do: fc.constant('read' as const),
  origin: fc.nat(1),
  file: fc.nat(14),
  from: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.integer({ min: 1, max: 40_000 }),
});
const event = fc.record({
  do: fc.constantFrom(
    'reopen',
    'crash',
    'power cut',
    'lose index',
    'damage index',
    'gc',
    'scrub',
    'no space',
    'bad disk',
    'good disk',
  ),
});
const corruption = fc.record({
  do: fc.constant('corrupt' as const),
  how: fc.constantFrom('flip', 'cut', 'empty', 'grow', 'swap', 'delete'),
  which: fc.nat(),
});
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { arbitrary: read, weight: 4 },
    { arbitrary: fc.constant({ do: 'read all' as const }), weight: 4 },
    { arbitrary: event, weight: 4 },
    { arbitrary: corruption, weight: 2 },
  ),
  { minLength: 8, maxLength: 24, size: 'max' },
);

class Run {
  readonly #scratch = mkdtempSync('/dev/shm/thinfs-cache-');
  readonly #disk = new FaultyDisk();
  readonly #quota: number;
  #roots = 0;
  #root = join(this.#scratch, '0');
  #cache: FileCache | undefined;
  /** The disk has failed: for a while the cache does without it, and whoever removes files is told so. */
  #mayRest: boolean = false;
  /** Files that were there when the last sync began: a power cut leaves them alone. */
  #durable = new Set<string>();

  constructor(quota: number) {
    this.#quota = quota;
    this.#disk.before = (operation) => {
      if (operation === 'sync') this.#durable = new Set(this.#tierNames());
    };
  }

  async #open(): Promise<FileCache> {
    this.#cache ??= await FileCache.open(
      cacheOptions(this.#root, { disk: this.#disk, quotaBytes: this.#quota }),
    );
    return this.#cache;
  }

  async close(): Promise<void> {
    this.#disk.faults.clear();
    await this.#cache?.[Symbol.asyncDispose]();
    this.#cache = undefined;
    this.#mayRest = false;
  }

  async step(step: Step): Promise<void> {
    if (step.do === 'read') return this.#read(step);
    if (step.do === 'read all') return this.#readAll();
    if (step.do === 'corrupt') return this.#corrupt(step);
    if (step.do === 'no space') return void this.#disk.faults.set('write', 'ENOSPC');
    if (step.do === 'bad disk') {
      this.#mayRest = true;
      for (const operation of ['read', 'write', 'open'] as const) {
        this.#disk.faults.set(operation, 'EIO');
      }
      return;
    }
    if (step.do === 'good disk') return this.#disk.faults.clear();
    if (step.do === 'gc') return this.#gc();
    if (step.do === 'scrub') return this.#scrub();
    if (step.do === 'crash' || step.do === 'power cut') return this.#crash(step.do);
    await this.close();
    if (step.do === 'lose index') rmSync(join(this.#root, 'index.db'), { force: true });
    if (step.do === 'damage index' && existsSync(join(this.#root, 'index.db'))) {
      const bytes = readFileSync(join(this.#root, 'index.db'));
      bytes.fill(0x5a, bytes.length >> 1);
      writeFileSync(join(this.#root, 'index.db'), bytes);
    }
  }

  async #read(step: Extract<Step, { do: 'read' }>): Promise<void> {
    const origin = origins[step.origin];
    const file = origin?.refs()[step.file];
    if (origin === undefined || file === undefined) return;
    const offset = Math.floor(step.from * file.size);
    const cache = await this.#open();
    const found = await cache.read(file, offset, step.length, origin, signal);
    const wanted = origin.bytesOf(file).subarray(offset, offset + step.length);
    if (!found.equals(wanted)) throw new Error(`wrong bytes of ${file.content} at ${offset}`);
  }

  async #readAll(): Promise<void> {
    for (const [origin, { files }] of origins.entries()) {
      for (let file = 0; file < files.size; file++) {
        await this.#read({ do: 'read', origin, file, from: 0, length: 100_000 });
      }
    }
  }

  /** Also on a full disk, which needs it most. */
  async #gc(): Promise<void> {
    try {
      await (await this.#open()).gc({ keepImages: [] });
    } catch (error) {
      if (!this.#mayRest || !isThinError(error, 'unavailable')) throw error;
    }
  }

  async #scrub(): Promise<void> {
    if (this.#disk.faults.size > 0) return;
    const cache = await this.#open();
    try {
      await cache.verify(signal);
    } catch (error) {
      if (!this.#mayRest || !isThinError(error, 'unavailable')) throw error;
      return;
    }
    this.checkTier();
  }

  /** From this moment on nothing reaches the disk; the next process finds it like that. */
  async #crash(how: 'crash' | 'power cut'): Promise<void> {
    const cache = await this.#open();
    const index = ['index.db', 'index.db-wal'].map((name) => join(this.#root, name));
    for (const path of index) if (existsSync(path)) copyFileSync(path, `${path}.then`);
    const durable = this.#durable;
    for (const operation of operations) this.#disk.faults.set(operation, 'EIO');
    await cache[Symbol.asyncDispose]();
    this.#disk.faults.clear();
    this.#cache = undefined;
    this.#mayRest = false;
    for (const path of index) {
      rmSync(path, { force: true });
      if (existsSync(`${path}.then`)) renameSync(`${path}.then`, path);
    }
    this.#durable = durable;
    if (how === 'crash') return;
    await this.#tick();
    // Elsewhere, it is as after a boot: nothing that was not synced is trusted.
    this.#roots++;
    const root = join(this.#scratch, String(this.#roots));
    renameSync(this.#root, root);
    this.#root = root;
    for (const path of tierFiles(root)) {
      const name = path.slice(-64);
      if (durable.has(name)) continue;
      if (name < '8') truncateSync(path, 0);
      else writeFileSync(path, Buffer.alloc(readFileSync(path).length));
    }
  }

  /** A change in the same tick of the kernel's clock, 10 ms at most, does not show in the ctime. */
  async #tick(): Promise<void> {
    const now = Date.now();
    await until(() => Date.now() > now + 20);
  }

  async #corrupt({ how, which }: Extract<Step, { do: 'corrupt' }>): Promise<void> {
    await this.close();
    await this.#tick();
    if (!existsSync(this.#root)) return;
    const files = [...tierFiles(this.#root), ...partialFiles(this.#root)];
    const path = files[which % files.length];
    const other = files[(which + 1) % files.length];
    if (path === undefined || other === undefined) return;
    const bytes = readFileSync(path);
    if (how === 'flip' && bytes.length > 0) {
      const at = which % bytes.length;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
      writeFileSync(path, bytes);
    } else if (how === 'cut') truncateSync(path, bytes.length >> 1);
    else if (how === 'empty') truncateSync(path, 0);
    else if (how === 'grow') writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(70, 1)]));
    else if (how === 'delete') rmSync(path);
    else if (how === 'swap' && other !== path) {
      renameSync(path, `${path}.swap`);
      renameSync(other, path);
      renameSync(`${path}.swap`, other);
    }
  }

  /** Nothing wrong ever has a final name while the cache is open. */
  checkTier(): void {
    if (this.#cache === undefined) return;
    const wrong = wrongTierFiles(this.#root);
    if (wrong[0] === undefined) return;
    throw new Error(`wrong file of ${readFileSync(wrong[0]).length} bytes: ${wrong[0]}`);
  }

  #tierNames(): string[] {
    return tierFiles(this.#root).map((path) => path.slice(-64));
  }

  async end(): Promise<void> {
    await this.close();
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

t.test(
  'every read returns the right bytes, whatever happened before',
  { timeout: 120_000 },
  async (t) => {
    await fc.assert(
      fc.asyncProperty(steps, fc.constantFrom(40_000, 1_000_000), async (steps, quota) => {
        const run = new Run(quota);
        try {
          for (const step of steps) {
            await run.step(step);
            if (step.do !== 'read') run.checkTier();
          }
        } finally {
          await run.end();
        }
      }),
      { numRuns: 20 },
    );
    t.pass('no counterexample');
  },
);
