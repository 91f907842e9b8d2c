import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mount, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import { byteStringFromText } from '../../src/byte-string.js';
import type { FileRef } from '../../src/cache/file-origin.js';
import { digestHex, digestOf } from '../../src/digest.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { runCommand } from '../support/run-command.js';
import {
  type HeldDevice,
  holdDevice,
  imageNamed,
  objectPath,
  putInTier,
} from './mounted-objects.js';
import { temporaryFolder } from './mounted-tree.js';
import { startObjectServer, startReaders, type TalkingProcess } from './object-server-process.js';
import type { ServerSettings } from './serve-objects.program.js';
import { type Contents, directory, file } from './torture-tree.js';

const image = imageNamed('an image');

interface Rig {
  readonly held: HeldDevice;
  /** Path of the settings of the server. */
  readonly settings: string;
  readonly store: string;
  readonly tier: string;
  /** The image's data layer. */
  readonly layer: string;
}

/** Files in a store, one in four in a tier too, and nothing that serves them yet. */
async function makeRig(t: Test, files: readonly Buffer[]): Promise<Rig> {
  const held = await holdDevice(t);
  const [folder, store, tier] = [
    await temporaryFolder(t),
    await temporaryFolder(t),
    await temporaryFolder(t),
  ];
  const refs: FileRef[] = [];
  for (const [at, bytes] of files.entries()) {
    refs.push({ content: digestOf(bytes), size: bytes.length });
    await writeFile(join(store, digestHex(digestOf(bytes))), bytes);
    if (at % 4 === 0) await putInTier(tier, bytes);
  }
  const settings: ServerSettings = {
    mountPoint: held.mountPoint,
    tiers: [tier],
    store,
    images: [{ image, files: refs }],
  };
  const path = join(folder, 'settings.json');
  await writeFile(path, JSON.stringify(settings));
  const layer = join(held.mountPoint, (await makeFileList(image, refs)).name);
  return { held, settings: path, store, tier, layer };
}

function someFiles(): Buffer[] {
  const small = Array.from({ length: 200 }, (_, at) => randomBytes(100 + at * 150));
  return [...small, randomBytes(3_000_000), randomBytes(5_000_000)];
}

async function untilBusy(server: TalkingProcess, takeover: string): Promise<void> {
  if ((await server.line()) !== `ready ${takeover} true`) throw new Error('it is not ready');
  if ((await server.line()) !== 'busy') throw new Error('it is not busy');
}

t.test('readers never notice that servers are killed', async (t) => {
  const files = someFiles();
  const { held, settings, store, layer } = await makeRig(t, files);
  let server = startObjectServer(t, settings, held.device);
  t.equal(await server.line(), 'ready not-needed true');
  const pairs = files.map((bytes) => {
    const content = digestOf(bytes);
    return [objectPath(layer, content), join(store, digestHex(content))] as const;
  });
  const readers = await startReaders(t, 8, pairs);
  t.equal(await server.line(), 'busy');
  for (let kill = 1; kill <= 4; kill++) {
    await server.kill();
    server = startObjectServer(t, settings, held.device);
    await untilBusy(server, 'done');
  }
  const { reads, longest, ...rest } = await readers.finish();
  t.strictSame(rest, { wrong: 0, errors: [], stuck: 0 });
  t.comment(`${reads} reads, the longest took ${longest} s`);
  t.ok(reads > 300);
});

t.test('neither do they when servers stop, or exit', async (t) => {
  const files = someFiles();
  const { held, settings, store, layer } = await makeRig(t, files);
  let server = startObjectServer(t, settings, held.device);
  t.equal(await server.line(), 'ready not-needed true');
  const pairs = files.map((bytes) => {
    const content = digestOf(bytes);
    return [objectPath(layer, content), join(store, digestHex(content))] as const;
  });
  const readers = await startReaders(t, 8, pairs);
  t.equal(await server.line(), 'busy');
  for (const [signal, code] of [
    ['SIGTERM', 0],
    ['SIGUSR2', 7],
  ] as const) {
    await server.kill(signal);
    t.strictSame(await server.ended, { code, signal: null });
    server = startObjectServer(t, settings, held.device);
    await untilBusy(server, 'done');
  }
  const { reads, longest, ...rest } = await readers.finish();
  t.strictSame(rest, { wrong: 0, errors: [], stuck: 0 });
  t.comment(`${reads} reads, the longest took ${longest} s`);
});

/** Mounts metadata and, above it, an overlay with the data layers. Both go with the test. */
async function compose(
  t: Test,
  metadata: Buffer,
  data: readonly string[],
): Promise<{ merged: string; upper: string }> {
  const folder = await temporaryFolder(t);
  const [imageFile, lower, upper, work, merged] = [
    join(folder, 'metadata.erofs'),
    join(folder, 'lower'),
    join(folder, 'upper'),
    join(folder, 'work'),
    join(folder, 'merged'),
  ];
  await writeFile(imageFile, metadata);
  for (const path of [lower, upper, work, merged]) await mkdir(path);
  await runCommand('mount', ['-t', 'erofs', '-o', 'ro,loop', imageFile, lower]);
  t.teardown(() => unmount(lower, unmountFlags.detach));
  const layers = `lowerdir=${lower}::${data.join('::')},upperdir=${upper},workdir=${work}`;
  await mount({
    source: 'overlay',
    target: merged,
    type: 'overlay',
    data: `${layers},metacopy=on,xino=auto`,
  });
  t.teardown(() => unmount(merged, unmountFlags.detach));
  return { merged, upper };
}

t.test('an overlay over it lives on', async (t) => {
  const contents: Contents = new Map();
  const files = someFiles();
  const tree = directory(
    files.map((bytes, at) => [byteStringFromText(`f${at}`), file(contents, bytes)]),
  );
  const { held, settings, store, tier, layer } = await makeRig(t, files);
  let server = startObjectServer(t, settings, held.device);
  t.equal(await server.line(), 'ready not-needed true');
  const { merged, upper } = await compose(t, writeErofs(tree), [tier, layer]);
  const pairs = files.map((bytes, at) => {
    return [join(merged, `f${at}`), join(store, digestHex(digestOf(bytes)))] as const;
  });
  const readers = await startReaders(t, 8, pairs);
  t.equal(await server.line(), 'busy');
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
    await server.kill(signal);
    const [, size] = [await stat(join(merged, 'f7')), (await stat(join(merged, 'f9'))).size];
    t.equal(size, files[9]?.length, 'metadata needs no server');
    t.ok((await readFile(join(merged, 'f0'))).equals(files[0] ?? Buffer.alloc(0)), 'nor a tier');
    server = startObjectServer(t, settings, held.device);
    await untilBusy(server, 'done');
  }
  const { reads, longest, ...rest } = await readers.finish();
  t.strictSame(rest, { wrong: 0, errors: [], stuck: 0 }, 'and no ESTALE');
  t.comment(`${reads} reads, the longest took ${longest} s`);
  await writeFile(join(merged, 'f1'), 'changed');
  t.equal(await readFile(join(upper, 'f1'), 'utf8'), 'changed');
  t.equal((await findMount(held.mountPoint))?.type, 'fuse.thinfs');
});
