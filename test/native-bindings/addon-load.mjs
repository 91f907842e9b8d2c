// Keeps every kind of the addon's asynchronous work busy, then ends as its first argument says:
// `stay` tells the parent thread and goes on, the others exit with code 7 at that stage. Uses the
// addon without its TypeScript face, so that a thread starts fast.
import { createRequire } from 'node:module';
import { parentPort, Worker } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';

const stage = process.argv[2];
const addon = createRequire(import.meta.url)('../../native-bindings/build/Release/thinfs.node');
if (stage === 'loaded') process.exit(7);

const none = Buffer.alloc(0);
const plain = Buffer.alloc(1 << 20, 'some text that is compressed, inflated, cut and hashed ');
const packed = Buffer.alloc(addon.zstdCompressBound(plain.length));
const frame = packed.subarray(0, await addon.zstdCompress(plain, packed, 3, none));
const delta = Buffer.alloc(packed.length);
const deltaBytes = await addon.zstdCompress(plain, delta, 3, plain);
const member = gzipSync(plain);
const gear = Buffer.alloc(1024, 'gear');
const run = Buffer.from(new Float64Array([plain.length, 3]).buffer);

async function inflate(open, step, input) {
  await step(open(27), input, Buffer.alloc(plain.length));
}

const works = [
  () => addon.zstdCompress(plain, Buffer.alloc(packed.length), 9, none),
  () => addon.zstdDecompress(frame, Buffer.alloc(plain.length), none),
  () => addon.zstdCompress(plain, Buffer.alloc(packed.length), 3, Buffer.from(plain)),
  () =>
    addon.zstdDecompress(
      delta.subarray(0, deltaBytes),
      Buffer.alloc(plain.length),
      Buffer.from(plain),
    ),
  () => inflate(addon.zstdInflaterOpen, addon.zstdInflaterStep, frame),
  () => inflate(addon.gzipInflaterOpen, addon.gzipInflaterStep, member),
  () =>
    addon.cutAndHash(
      addon.cutterOpen(gear, 16384, 65536, 262144, 0xffffc000, 0xfffc0000),
      plain,
      run,
      Buffer.alloc(40 * 200),
    ),
  () => addon.listXattrs(Buffer.from('/')),
  () => addon.hashUpdate(addon.hashOpen(), plain),
  () => addon.zstdDecompress(member, Buffer.alloc(5), none).catch(() => undefined),
];

async function repeat(work, times) {
  for (let i = 0; i < times; i++) await work();
}

if (stage === 'thread') {
  const worker = new Worker(new URL(import.meta.url), { argv: ['stay'] });
  worker.once('message', () => process.exit(7));
} else if (stage === 'settled') {
  await Promise.all(works.map((work) => repeat(work, 3)));
  process.exit(7);
} else if (stage === 'busy' || stage === 'stay') {
  const all = works.map((work) => repeat(work, 1e9));
  await repeat(() => new Promise(setImmediate), 5);
  parentPort?.postMessage('busy');
  if (stage === 'busy') process.exit(7);
  await Promise.all(all);
}
