import { readFileSync } from 'node:fs';
import t from 'tap';
import { readDynamicObject } from '../../src/hot/elf.js';
import { parseLibraryCache } from '../../src/hot/library-cache.js';
import fc from '../support/properties.js';

/** What one file may cost, whatever it says. */
const readsMax = 5000;
const bytesMax = 32 * 1024 * 1024;

async function readFrom(bytes: Buffer) {
  const cost = { reads: 0, bytes: 0 };
  const object = await readDynamicObject(async (offset, length) => {
    if (!(offset >= 0 && length >= 0)) throw new RangeError(`${length} bytes at ${offset}`);
    cost.reads += 1;
    cost.bytes += length;
    return bytes.subarray(offset, offset + length);
  });
  return { object, cost };
}

const program = readFileSync(process.execPath).subarray(0, 65_536);

t.test('a real program', async (t) => {
  const { object } = await readFrom(readFileSync('/bin/sh'));
  t.match(object?.interpreter, /^\/lib.*\/ld-linux/);
  t.match(object?.needed.join(' '), /libc\.so\.6/);
  t.ok((object?.start.length ?? 0) > 0);
});

t.test('what is no ELF file is none', async (t) => {
  for (const bytes of [Buffer.alloc(0), Buffer.from('\x7fELF'), Buffer.from('#!/bin/sh\n')]) {
    t.equal((await readFrom(bytes)).object, undefined);
  }
});

t.test('an ELF header with anything behind it costs little and throws nothing', async (t) => {
  const changes = fc.array(
    fc.tuple(fc.nat({ max: 2047 }), fc.constantFrom(0, 1, 2, 5, 0x7f, 0xff)),
    { maxLength: 24 },
  );
  await fc.assert(
    fc.asyncProperty(changes, fc.nat({ max: program.length }), async (edits, length) => {
      const bytes = Buffer.from(program.subarray(0, length));
      for (const [at, value] of edits) if (at >= 4 && at < length) bytes[at] = value;
      const { cost } = await readFrom(bytes);
      return cost.reads <= readsMax && cost.bytes <= bytesMax;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

const entry = fc.record({
  flags: fc.integer(),
  name: fc.nat({ max: 4096 }),
  path: fc.nat({ max: 4096 }),
});

function libraryCache(count: number, entries: readonly { name: number; path: number }[]): Buffer {
  const header = Buffer.alloc(48);
  header.write('glibc-ld.so.cache1.1', 'latin1');
  header.writeUInt32LE(count, 20);
  const records = entries.map(({ name, path }) => {
    const record = Buffer.alloc(24);
    record.writeUInt32LE(name, 4);
    record.writeUInt32LE(path, 8);
    return record;
  });
  return Buffer.concat([header, ...records, Buffer.from('libx.so\0/lib/libx.so\0')]);
}

t.test('a library cache', async (t) => {
  const bytes = libraryCache(2, [
    { name: 96, path: 104 },
    { name: 96, path: 0xffff_ffff },
  ]);
  t.same([...parseLibraryCache(bytes)], [['libx.so', ['/lib/libx.so']]]);
  const old = Buffer.alloc(16 + 12);
  old.write('ld.so-1.7.0', 'latin1');
  old.writeUInt32LE(1, 12);
  const both = Buffer.concat([old, Buffer.alloc(4), bytes]);
  t.same([...parseLibraryCache(both).keys()], ['libx.so'], 'behind one of the old form');
  const mine = parseLibraryCache(readFileSync('/etc/ld.so.cache'));
  t.ok(mine.get('libc.so.6')?.some((path) => path.endsWith('/libc.so.6')));
});

t.test('any bytes are a library cache or none', async (t) => {
  const caches = fc
    .tuple(fc.nat({ max: 0xffff_ffff }), fc.array(entry, { maxLength: 50 }), fc.uint8Array())
    .map(([count, entries, rest]) => Buffer.concat([libraryCache(count, entries), rest]));
  const bytes = fc.oneof(
    caches,
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  );
  fc.assert(
    fc.property(bytes, (some) => {
      for (const paths of parseLibraryCache(some).values()) {
        if (paths.length === 0 || paths.some((path) => !path.startsWith('/'))) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('a hostile library cache takes neither time nor memory', async (t) => {
  const many = Array.from({ length: 150_000 }, () => ({ name: 0, path: 48 + 24 }));
  const bytes = Buffer.concat([libraryCache(150_000, many), Buffer.alloc(4_000_000, '/')]);
  bytes.fill('/', 24, 48); // one long text without an end
  const found = parseLibraryCache(bytes);
  t.ok(found.size <= 1);
});
