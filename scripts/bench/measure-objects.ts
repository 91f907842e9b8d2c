import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { byteStringFromText } from '../../src/byte-string.js';
import type { FileRef } from '../../src/cache/file-origin.js';
import { tierPath } from '../../src/cache/layout.js';
import type { PartialView } from '../../src/cache/partial-view.js';
import type { Ownership } from '../../src/daemon/ownership.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { openDevice } from '../../src/fuse/device.js';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { ObjectServer } from '../../src/fuse/object-server.js';
import type { DirectoryNode, FileNode } from '../../src/image/tree.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { mountComposed } from '../../src/mount/composed-mount.js';
import { mountMetadata, unmountMetadata } from '../../src/mount/metadata-mount.js';
import { runCommand } from '../../test/support/run-command.js';
import { type Figure, type Measurement, median } from './measurement.js';

const rounds = 7;
const smallFiles = 2000;
const smallFileBytes = 8192;
const largeFileBytes = 256 * 2 ** 20;
/** Of the large file: about what the converter cuts. */
const chunkBytes = 65_536;

const client = fileURLToPath(new URL('./cold-reads.c', import.meta.url));

/** What a read costs that the kernel has to ask F for, the bytes being here. */
export function objectReads(): Measurement {
  return {
    name: 'reads through F, the bytes being here',
    open: async (scratch, owned) => {
      const program = join(scratch, 'cold-reads');
      await runCommand('cc', ['-O2', '-o', program, client]);
      const tier = join(scratch, 'tier');
      const refs = await makeSmallFiles(tier);
      const partial = await makePartial(join(scratch, 'partial'));
      const server = owned.use(await serve(join(scratch, 'objects'), tier, partial));
      const metadata = await mountNames(owned, scratch, refs);
      return {
        unit: 'ms',
        contenders: [],
        figures: async () => [
          ...(await firstTouches({ program, scratch, server, metadata, tier, refs })),
          ...(await partialReads(program, server, partial)),
        ],
      };
    },
  };
}

interface TouchRig {
  readonly program: string;
  readonly scratch: string;
  readonly server: ObjectServer;
  readonly metadata: string;
  readonly tier: string;
  readonly refs: readonly FileRef[];
}

/** Every round is of an image of its own, which the kernel has never seen. */
async function firstTouches(rig: TouchRig): Promise<Figure[]> {
  const [throughF, fromTier]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    const layer = rig.server.addFiles(await makeFileList(imageNamed(`round ${round}`), rig.refs));
    throughF.push(await touchAll(rig, layer));
    fromTier.push(await touchAll(rig, rig.tier));
  }
  const [own, tier] = [middle(throughF), middle(fromTier)];
  return [
    { name: 'first touch of a file of 8 KiB, through F', unit: 'us', value: own, most: 130 },
    { name: 'the same, the tier being a layer itself', unit: 'us', value: tier },
  ];
}

async function touchAll(rig: TouchRig, layer: string): Promise<number> {
  const target = join(rig.scratch, 'merged');
  await mountComposed({ metadata: rig.metadata, data: [layer], target });
  try {
    const paths = rig.refs.map((_, at) => `${join(target, nameOf(at))}\0`).join('');
    return await run(rig.program, ['touch'], paths);
  } finally {
    await detachPath(target);
  }
}

async function partialReads(
  program: string,
  server: ObjectServer,
  { content, size }: PartialView,
): Promise<Figure[]> {
  const layer = server.addFiles(await makeFileList(imageNamed('large'), [{ content, size }]));
  const path = tierPath(layer, content);
  const [random, sequential]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    random.push(await run(program, ['random', path]));
    sequential.push(await run(program, ['sequential', path]));
  }
  return [
    { name: '4 KiB at random of a partial file', unit: 'us', value: middle(random), most: 20 },
    { name: 'a partial file, in order', unit: 's/GB', value: middle(sequential), most: 0.5 },
  ];
}

/** The first round warms up. */
function middle(values: readonly number[]): number {
  return median(values.slice(1));
}

async function run(program: string, args: readonly string[], input = ''): Promise<number> {
  const { stdout } = await runCommand(program, args, { input });
  return Number(stdout);
}

async function serve(
  mountPoint: string,
  tier: string,
  partial: PartialView,
): Promise<ObjectServer & AsyncDisposable> {
  await mkdir(mountPoint);
  const device = openDevice();
  const file = await open(partial.path);
  const server = await ObjectServer.open({
    device,
    mountPoint,
    tiers: [tier],
    // Each thread asks once before it knows the partial file.
    readFile: async (_, __, offset, length) => {
      const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
      return buffer;
    },
    partialView: (_, { content }) => (content === partial.content ? partial : undefined),
    onFirstUse: () => {},
    onReadError: (error) => process.emitWarning(String(error)),
  });
  void server.ended.then(async () => {
    closeSync(device);
    await file.close();
  });
  return Object.assign(server, { [Symbol.asyncDispose]: () => server.unmount() });
}

async function makeSmallFiles(tier: string): Promise<FileRef[]> {
  const refs: FileRef[] = [];
  for (let at = 0; at < smallFiles; at++) {
    const bytes = randomBytes(smallFileBytes);
    const content = digestOf(bytes);
    const path = tierPath(tier, content);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, bytes);
    refs.push({ content, size: bytes.length });
  }
  return refs;
}

/** A file that is all there, and still counts as partial. */
async function makePartial(path: string): Promise<PartialView> {
  const block = randomBytes(2 ** 20);
  const file = await open(path, 'w');
  for (let at = 0; at < largeFileBytes; at += block.length) await file.write(block);
  await file.close();
  const chunks = largeFileBytes / chunkBytes;
  const starts = new Float64Array(new SharedArrayBuffer((chunks + 1) * 8));
  for (let chunk = 0; chunk <= chunks; chunk++) starts[chunk] = chunk * chunkBytes;
  const verified = new Int32Array(new SharedArrayBuffer(chunks / 8)).fill(-1);
  const named = new Int32Array(new SharedArrayBuffer(4)).fill(1);
  return { content: imageNamed('partial'), size: largeFileBytes, path, named, starts, verified };
}

async function mountNames(
  owned: Ownership,
  scratch: string,
  refs: readonly FileRef[],
): Promise<string> {
  const attributes = { mode: 0o644, uid: 0, gid: 0, xattrs: new Map() };
  const mtime = { seconds: 0, nanoseconds: 0 };
  const nodes = refs.map((ref, at) => {
    const node: FileNode = { type: 'file', ...attributes, mtime, ...ref };
    return [byteStringFromText(nameOf(at)), node] as const;
  });
  const children = new Map(nodes);
  const tree: DirectoryNode = { type: 'directory', ...attributes, mtime, mode: 0o755, children };
  const [image, mountPoint] = [join(scratch, 'metadata.erofs'), join(scratch, 'metadata')];
  await writeFile(image, writeErofs(tree));
  await mkdir(mountPoint);
  await mountMetadata({ image, mountPoint });
  owned.use({ [Symbol.asyncDispose]: () => unmountMetadata(mountPoint) });
  return mountPoint;
}

function nameOf(at: number): string {
  return `file-${at}`;
}

function imageNamed(name: string): Digest {
  return digestOf(Buffer.from(name));
}
