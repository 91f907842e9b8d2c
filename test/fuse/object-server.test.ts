import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';
import { lstat, open, readdir, readFile, stat, statfs, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { ConnectionControl } from '../../src/fuse/connection.js';
import { mountDevice } from '../../src/fuse/kernel-mount.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { ObjectImages } from '../../src/fuse/object-images.js';
import { isConnectionEnded, ObjectServer, type ReadObject } from '../../src/fuse/object-server.js';
import { readAheadOfStarts } from '../../src/fuse/read-ahead.js';
import {
  type HeldDevice,
  holdDevice,
  imageNamed,
  objectPath,
  openObjects,
  partialView,
  putInTier,
  StoredFiles,
  verify,
} from './mounted-objects.js';
import { temporaryFolder, until } from './mounted-tree.js';

const image = imageNamed('an image');

const nothing: ReadObject = async (_, { content }) => {
  throw new Error(`nobody was to ask for ${content}`);
};

t.test('shows the files of images, and only those', async (t) => {
  const held = await holdDevice(t);
  const files = Array.from({ length: 300 }, (_, at) => randomBytes(1 + at * 100));
  const store = new StoredFiles(files);
  const { server } = await openObjects(t, held, store.read);
  t.strictSame([server.resend, server.attached], ['not-needed', true]);
  const [known, later] = [store.refs.slice(0, 200), store.refs.slice(200)];
  const layer = server.addFiles(await makeFileList(image, known));
  t.match(layer, new RegExp(`^${held.mountPoint}/[0-9a-f]{64}$`));
  for (const { content, size } of known) {
    const path = objectPath(layer, content);
    t.equal((await stat(path)).size, size);
    t.equal(digestOf(await readFile(path)), content);
  }
  for (const { content } of later) {
    await t.rejects(lstat(objectPath(layer, content)), { code: 'ENOENT' });
    await t.rejects(lstat(join(held.mountPoint, digestHex(content))), { code: 'ENOENT' });
  }
  const second = server.addFiles(await makeFileList(imageNamed('another'), store.refs));
  t.not(second, layer);
  for (const { content } of later) {
    t.equal(digestOf(await readFile(objectPath(second, content))), content);
  }
  t.strictSame(await readdir(held.mountPoint), []);
  const [first] = later;
  const hex = digestHex(first?.content ?? image);
  t.ok((await readdir(join(second, hex.slice(0, 2)))).includes(hex));
  await t.rejects(writeFile(join(layer, 'x'), ''), { code: 'EROFS' });
  t.ok((await statfs(held.mountPoint)).files > 500);
});

t.test('each image gets its own bytes, although both name the same content', async (t) => {
  const held = await holdDevice(t);
  const content = digestOf(Buffer.from('which only one of them has'));
  const [liar, honest] = [imageNamed('liar'), imageNamed('honest')];
  const { server } = await openObjects(t, held, async (from) =>
    Buffer.from(from === liar ? 'LIES' : 'true'),
  );
  const read = async (from: Digest) => {
    const layer = server.addFiles(await makeFileList(from, [{ content, size: 4 }]));
    return (await readFile(objectPath(layer, content))).toString();
  };
  t.strictSame([await read(liar), await read(honest)], ['LIES', 'true']);
  const longer = server.addFiles(await makeFileList(imageNamed('longer'), [{ content, size: 5 }]));
  t.equal((await stat(objectPath(longer, content))).size, 5, 'sizes are their own affair too');
});

t.test('names that came after they had been asked for are seen', async (t) => {
  const held = await holdDevice(t);
  const store = new StoredFiles([randomBytes(100)]);
  const { server } = await openObjects(t, held, store.read);
  const layer = server.addFiles(await makeFileList(image, store.refs));
  server.removeFiles(image);
  const other = await holdDevice(t);
  const { server: fresh } = await openObjects(t, other, store.read);
  const path = layer.replace(held.mountPoint, other.mountPoint);
  await t.rejects(stat(path), { code: 'ENOENT' });
  t.equal(fresh.addFiles(await makeFileList(image, store.refs)), path);
  t.ok((await stat(path)).isDirectory());
});

t.test('reads what is complete in a tier without asking, what is torn not', async (t) => {
  const held = await holdDevice(t);
  const [fast, local] = [await temporaryFolder(t), await temporaryFolder(t)];
  const [first, second, torn] = [randomBytes(2_500_000), randomBytes(3000), randomBytes(9000)];
  await putInTier(fast, first);
  await putInTier(local, second);
  await putInTier(fast, torn, torn.subarray(0, 8999));
  const store = new StoredFiles([first, second, torn]);
  const asked: Digest[] = [];
  const readFileOf: ReadObject = (from, file, ...range) => {
    asked.push(file.content);
    return store.read(from, file, ...range);
  };
  const { server, firstUses } = await openObjects(t, held, readFileOf, {
    tiers: [fast, local],
  });
  const layer = server.addFiles(await makeFileList(image, store.refs));
  for (const bytes of [first, second, torn]) {
    t.ok((await readFile(objectPath(layer, digestOf(bytes)))).equals(bytes));
  }
  t.strictSame(asked, [digestOf(torn)]);
  await server.close();
  const uses = () => new Set(firstUses);
  await until('uses are told', () => uses().size === 2);
  t.strictSame(uses(), new Set([digestOf(first), digestOf(second)]));
});

/** Of the server's process, how often a file is open, also if it was removed. */
async function timesOpen(path: string): Promise<number> {
  const links = (await readdir('/proc/self/fd')).map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return links.filter((link) => link === path || link === `${path} (deleted)`).length;
}

t.test('reads what is verified of a partial file without asking', async (t) => {
  const held = await holdDevice(t);
  const bytes = randomBytes(8 * 2 ** 20);
  const store = new StoredFiles([bytes]);
  const view = await partialView(await temporaryFolder(t), bytes, 2 ** 20);
  const asked: number[] = [];
  const readFileOf: ReadObject = (from, file, offset, ...rest) => {
    asked.push(offset);
    return store.read(from, file, offset, ...rest);
  };
  const { server } = await openObjects(t, held, readFileOf, {
    partialView: (from) => (from === image ? view : undefined),
  });
  const layer = server.addFiles(await makeFileList(image, store.refs));
  const handle = await open(objectPath(layer, digestOf(bytes)));
  t.teardown(() => handle.close());
  // Random access, each place once: nothing is read ahead, nothing comes from the page cache.
  const readAt = async (at: number) => {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, at);
    return bytesRead === 4096 && buffer.equals(bytes.subarray(at, at + 4096));
  };
  for (const chunk of [3, 4, 5, 6, 7]) verify(view, chunk);
  for (let at = 0; at < 8; at++) t.ok(await readAt(at * 2 ** 20 + 500_000));
  t.ok(asked.length > 0 && asked.every((at) => at < 4 * 2 ** 20));
  t.ok((await timesOpen(view.path)) > 0);
  await unlink(view.path);
  server.endPartial(view);
  await until('the threads have closed the file', async () => (await timesOpen(view.path)) === 0);
});

t.test('a reader is not kept waiting by another one', async (t) => {
  const held = await holdDevice(t);
  const store = new StoredFiles([randomBytes(5000), randomBytes(5000)]);
  const [slow, quick] = store.refs;
  if (!slow || !quick) throw new Error('no files');
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { server } = await openObjects(t, held, async (from, file, ...range) => {
    if (file.content === slow.content) await released;
    return store.read(from, file, ...range);
  });
  const layer = server.addFiles(await makeFileList(image, store.refs));
  const waiting = readFile(objectPath(layer, slow.content));
  t.equal(digestOf(await readFile(objectPath(layer, quick.content))), quick.content);
  await t.rejects(stat(objectPath(layer, digestOf(Buffer.from('absent')))), { code: 'ENOENT' });
  release();
  t.equal(digestOf(await waiting), slow.content);
});

t.test('a read that fails is an error for the program, and is told', async (t) => {
  const held = await holdDevice(t);
  const { server, readErrors } = await openObjects(t, held, nothing);
  const content = digestOf(Buffer.from('x'));
  const layer = server.addFiles(await makeFileList(image, [{ content, size: 100 }]));
  await t.rejects(readFile(objectPath(layer, content)), { code: 'EIO' });
  t.match(readErrors, [{ content, error: { message: /nobody was to ask/ } }]);
});

t.test('closing keeps the mount, and the next server serves it', async (t) => {
  const held = await holdDevice(t);
  const store = new StoredFiles([randomBytes(70_000), randomBytes(80_000)]);
  const [first, second] = store.refs;
  if (!first || !second) throw new Error('no files');
  const calls: AbortSignal[] = [];
  const { server } = await openObjects(t, held, async (from, file, offset, length, signal) => {
    if (file.content === first.content) return store.read(from, file, offset, length, signal);
    calls.push(signal);
    return new Promise(() => {});
  });
  const layer = server.addFiles(await makeFileList(image, store.refs));
  t.equal(digestOf(await readFile(objectPath(layer, first.content))), first.content);
  const waiting = readFile(objectPath(layer, second.content));
  await until('the read arrived', () => calls.length > 0);
  await server.close();
  await server.close();
  t.equal(await server.ended, undefined);
  t.ok(calls.every(({ aborted }) => aborted));
  t.equal((await findMount(held.mountPoint))?.type, 'fuse.thinfs');
  const images = new ObjectImages();
  t.equal(join(held.mountPoint, images.add(await makeFileList(image, store.refs))), layer);
  const { server: next } = await openObjects(t, held, store.read, { images });
  t.strictSame([next.resend, next.attached], ['done', true]);
  t.equal(digestOf(await waiting), second.content);
  t.equal(next.addFiles(await makeFileList(image, [])), layer);
});

t.test('unmounting ends all', async (t) => {
  const held = await holdDevice(t);
  const store = new StoredFiles([randomBytes(5000)]);
  const { server } = await openObjects(t, held, store.read);
  const layer = server.addFiles(await makeFileList(image, store.refs));
  const [file] = store.refs;
  const handle = await open(objectPath(layer, file?.content ?? image));
  await t.rejects(server.unmount(), { code: 'busy' });
  t.equal((await handle.readFile()).length, 5000);
  await handle.close();
  await server.unmount();
  t.equal(await server.ended, undefined);
  t.equal(await findMount(held.mountPoint), undefined);
  await server.close();
});

async function openAgain(held: HeldDevice): Promise<unknown> {
  const server = ObjectServer.open({
    ...held,
    tiers: [],
    readFile: nothing,
    onFirstUse: () => {},
    onReadError: () => {},
  });
  return server.then(
    (opened) => opened.close(),
    (error: unknown) => error,
  );
}

async function abort(mountPoint: string): Promise<void> {
  using control = await ConnectionControl.open((await findMount(mountPoint))?.device ?? '');
  control.abort();
}

t.test('who would end a connection that has ended does not end its successor', async (t) => {
  const held = await holdDevice(t);
  const { server } = await openObjects(t, held, nothing);
  const device = (await findMount(held.mountPoint))?.device ?? '';
  using control = await ConnectionControl.open(device);
  await server.unmount();
  // Numbers are given again at once, unless another test mounts something meanwhile.
  for (let tries = 1; ; tries++) {
    const next = await holdDevice(t);
    const { server: successor } = await openObjects(t, next, nothing);
    const isAgain = (await findMount(next.mountPoint))?.device === device;
    if (isAgain) {
      t.ok(control.abort());
      t.ok((await statfs(next.mountPoint)).blocks >= 0, 'it goes on');
    }
    await successor.unmount();
    if (isAgain) break;
    if (tries === 20) throw new Error('the number is not given again');
  }
});

t.test('a connection that has ended is told from other failures', async (t) => {
  const unmounted = await holdDevice(t);
  const { server } = await openObjects(t, unmounted, nothing);
  await server.unmount();
  const afterUnmount = await openAgain(unmounted);
  t.match(afterUnmount, { code: 'unavailable', message: /its connection has ended/ });
  t.ok(isConnectionEnded(afterUnmount));

  const aborted = await holdDevice(t);
  const { server: second } = await openObjects(t, aborted, nothing);
  await abort(aborted.mountPoint);
  t.equal(await second.ended, undefined);
  t.ok(isConnectionEnded(await openAgain(aborted)));

  const nowhere = { ...(await holdDevice(t)), mountPoint: '/nonexistent/place' };
  const absent = await openAgain(nowhere);
  t.match(absent, { code: 'not-found' });
  t.notOk(isConnectionEnded(absent));
});

t.test('a dead mount of an earlier descriptor is replaced', async (t) => {
  const held = await holdDevice(t);
  const { server } = await openObjects(t, held, nothing);
  await abort(held.mountPoint);
  await server.ended;
  await t.rejects(statfs(held.mountPoint), { code: 'ENOTCONN' });
  const device = openSync('/dev/fuse', 'r+');
  t.teardown(async () => closeSync(device));
  const store = new StoredFiles([randomBytes(100)]);
  const { server: next } = await openObjects(t, { ...held, device }, store.read);
  const layer = next.addFiles(await makeFileList(image, store.refs));
  const [file] = store.refs;
  t.equal((await readFile(objectPath(layer, file?.content ?? image))).length, 100);
  await next.unmount();
  t.equal(await findMount(held.mountPoint), undefined, 'and nothing is below it');
});

t.test('whoever was killed before INIT was answered', async (t) => {
  for (const [what, isRead] of [
    ['and before it was read', false],
    ['after it was read', true],
  ] as const) {
    const held = await holdDevice(t);
    await mountDevice(held.device, { ...held, allowOther: false, setuid: false });
    if (isRead) t.ok(readSync(held.device, Buffer.alloc(100_000)) > 40);
    const store = new StoredFiles([randomBytes(100_000)]);
    const { server } = await openObjects(t, held, store.read);
    t.strictSame([server.resend, server.attached], ['done', true], what);
    const layer = server.addFiles(await makeFileList(image, store.refs));
    const [file] = store.refs;
    const path = objectPath(layer, file?.content ?? image);
    t.equal(digestOf(await readFile(path)), file?.content, what);
  }
});

t.test('the kernel reads ahead a mebibyte, or what it is told', async (t) => {
  const held = await holdDevice(t);
  const { server } = await openObjects(t, held, nothing);
  const device = (await findMount(held.mountPoint))?.device;
  const readAhead = () => readFile(`/sys/class/bdi/${device}/read_ahead_kb`, 'utf8');
  t.equal(await readAhead(), '1024\n');
  server.readAhead(readAheadOfStarts);
  t.equal(await readAhead(), '32\n');
});
