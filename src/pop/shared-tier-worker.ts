/*
 * The process that touches the shared tier, started by shared-tier.ts. A file system that hangs keeps
 * the threads that ask it, and a process with such threads cannot even end by itself: this one is
 * given up, and killed, and the daemon goes on.
 */
import { randomBytes } from 'node:crypto';
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { mapBounded } from '../cache/bounded.js';
import { errnoName } from '../cache/disk.js';
import { tierPath } from '../cache/layout.js';
import type { Digest } from '../digest.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import type { SharedTierAnswer, SharedTierRequest, WithoutId } from './shared-tier-messages.js';
import { copyFromTier, hashedCopy, type OpenFile, openInTier, writeAll } from './tier-copy.js';
import { TierLists, unlessAbsent, unlessThere } from './tier-lists.js';
import { planTier } from './tier-plan.js';

/** Files held open, and milliseconds after which they are closed: what was replaced is found then. */
const openFilesMax = 64;
const openFileMs = 10_000;
/** Milliseconds after which a file on its way belongs to a node that died. */
const abandonedMs = 3_600_000;
const marker = '.thinfs-shared';
const markerForm = /^thinfs shared tier 1\n([0-9a-f]{16})\n$/;
/** Of the quota, what is freed beyond what has to be; and files that are removed at a time. */
const spareShare = 0.05;
const removalsInFlight = 8;
/** What file systems put into a folder that is empty otherwise. */
const notOurs = new Set(['lost+found', '.trashcan', '.glusterfs']);

/** As shared-tier-link.ts says: where it is, and the bytes that stay free there. */
const [, , directory = '', freeSpaceFloorBytes = '0'] = process.argv;
const incoming = join(directory, '.incoming');
const lists = new TierLists(directory);

type Answer = WithoutId<SharedTierAnswer>;

const files = new LRUCache<Digest, OpenFile>({
  max: openFilesMax,
  ttl: openFileMs,
  ttlAutopurge: true,
  dispose: ({ handle }) => void handle.close().catch(() => undefined),
});
/** Which directory it was that had the marker: another one is there while nothing is mounted. */
let identity: string | undefined;

async function answer(request: SharedTierRequest): Promise<Answer> {
  switch (request.ask) {
    case 'look':
      return { is: 'here', tier: await look(request.known) };
    case 'read':
      return await read(request);
    case 'copy':
      return await copyFromTier(tierPath(directory, request.content), request);
    case 'put':
      return { is: await put(request) };
    case 'remove':
      files.delete(request.content);
      await remove(tierPath(directory, request.content));
      return { is: 'removed' };
    case 'listed':
      return { is: (await lists.has(request.image)) ? 'there' : 'absent' };
    case 'list':
      await mustBeThere();
      await lists.write(request.image, request.list);
      return { is: 'stored' };
    case 'mark':
      await mustBeThere();
      await lists.mark(request.images);
      return { is: 'stored' };
    case 'tidy':
      return await tidy(request);
  }
}

/** Removes what the policy chooses: an image's list first, as its files are not all there then. */
async function tidy({
  quotaBytes,
  policy,
  uses,
}: Extract<SharedTierRequest, { ask: 'tidy' }>): Promise<Answer> {
  await mustBeThere();
  const state = await lists.survey(uses);
  const bytes = [...state.files.values()].reduce((sum, size) => sum + size, 0);
  const over = bytes - quotaBytes;
  // Some more, so that not every file that comes makes one go.
  const wanted = over > 0 ? over + quotaBytes * spareShare : 0;
  const plan = planTier(state, wanted, policy);
  for (const image of plan.images) await lists.remove(image);
  const failures: unknown[] = []; // one that stays keeps none of the others
  let freed = 0;
  await mapBounded(plan.files, removalsInFlight, async (hex) => {
    const content = `sha256:${hex}` as Digest;
    files.delete(content);
    try {
      await unlink(tierPath(directory, content)).catch(unlessAbsent);
      freed += state.files.get(hex) ?? 0;
    } catch (error) {
      failures.push(error);
    }
  });
  if (failures.length > 0 && freed === 0) throw failures[0];
  return { is: 'tidy', bytes: bytes - freed, left: { images: plan.images, bytes: freed } };
}

async function mustBeThere(): Promise<void> {
  if (identity !== undefined && identity === (await identityOf())) return;
  throw new ThinError('unavailable', 'Cannot store files in the shared tier: it is not there');
}

/** The tier's id. @throws ThinError if it is not there, or not ours */
async function look(known: string): Promise<string> {
  const id = (await readMarker()) ?? (known === '' ? await begin() : undefined);
  if (id === undefined || (known !== '' && id !== known)) {
    identity = undefined;
    throw new ThinError(
      'unavailable',
      `Cannot use the shared tier in ${directory}: it is not the one that was there (is it mounted?)`,
    );
  }
  const found = await identityOf();
  if (found !== identity) await removeAbandoned().catch(() => undefined); // or somebody else does
  identity = found;
  return id;
}

async function readMarker(): Promise<string | undefined> {
  const text = await readFile(join(directory, marker), 'utf8').catch(unlessAbsent);
  if (text === undefined) return undefined;
  const id = markerForm.exec(text)?.[1];
  if (id !== undefined) return id;
  throw new ThinError('invalid', `Cannot use ${directory}: its ${marker} is of another version`);
}

/** Makes a shared tier of an empty folder; of nodes that do so at once one comes first. */
async function begin(): Promise<string | undefined> {
  const others = (await readdir(directory)).filter((name) => !notOurs.has(name));
  if (others.length > 0 && !others.includes(marker) && !others.includes('.incoming')) {
    const message = `Cannot make ${directory} a shared tier: it is not empty`;
    throw new ThinError('invalid', message);
  }
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  const written = join(incoming, randomBytes(8).toString('hex'));
  const handle = await open(written, 'wx', 0o644);
  try {
    await handle.writeFile(`thinfs shared tier 1\n${randomBytes(8).toString('hex')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await link(written, join(directory, marker)).catch(unlessThere);
  await unlink(written);
  return await readMarker();
}

async function identityOf(): Promise<string> {
  const { dev, ino } = await stat(directory);
  return `${dev} ${ino}`;
}

/** By the clock of the file system, which is that of all nodes. */
async function removeAbandoned(): Promise<void> {
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  const probe = join(incoming, randomBytes(8).toString('hex'));
  await (await open(probe, 'wx')).close();
  const { mtimeMs: now } = await stat(probe);
  await unlink(probe);
  for (const name of await readdir(incoming)) {
    const path = join(incoming, name);
    const { mtimeMs } = (await stat(path).catch(unlessAbsent)) ?? { mtimeMs: now };
    if (now - mtimeMs > abandonedMs) await unlink(path).catch(() => undefined);
  }
}

async function read({
  content,
  size,
  offset,
  length,
}: Extract<SharedTierRequest, { ask: 'read' }>): Promise<Answer> {
  const file = files.get(content) ?? (await openFile(content));
  if (typeof file === 'string') return { is: file };
  if (file.size !== size) return { is: 'wrong' };
  const bytes = Buffer.allocUnsafeSlow(length);
  const { bytesRead } =
    length === 0 ? { bytesRead: 0 } : await file.handle.read(bytes, 0, length, offset);
  return bytesRead === length ? { is: 'bytes', bytes } : { is: 'wrong' };
}

async function openFile(content: Digest): Promise<OpenFile | 'absent' | 'wrong'> {
  const file = await openInTier(tierPath(directory, content));
  if (typeof file === 'object') files.set(content, file);
  return file;
}

/** Whatever it is that stands in the place of a file. */
async function remove(path: string): Promise<void> {
  await unlink(path).catch(async (error: unknown) => {
    const code = errnoName(error);
    if (code === 'EISDIR' || code === 'EPERM') await rm(path, { recursive: true, force: true });
    else unlessAbsent(error);
  });
}

/** Copies a file of this node there, verified on the way; it appears whole, by rename. */
async function put({
  content,
  size,
  from,
}: Extract<SharedTierRequest, { ask: 'put' }>): Promise<'there' | 'stored'> {
  const path = tierPath(directory, content);
  const there = await lstat(path).catch(unlessAbsent);
  if (there?.isFile() && there.size === size) return 'there';
  await mustBeThere();
  if (there?.isDirectory()) await remove(path); // which a file cannot replace by rename
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize - size < Number(freeSpaceFloorBytes)) {
    throw new ThinError('no-space', 'Cannot store files in the shared tier: it is full');
  }
  const source = await open(from, 'r').catch((error: unknown) => {
    throw new ThinError('not-found', `Cannot share ${content}`, { cause: error });
  });
  const written = join(incoming, randomBytes(8).toString('hex'));
  try {
    await copy(source, written, { content, size });
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(written, path);
    return 'stored';
  } catch (error) {
    await unlink(written).catch(() => undefined);
    throw error;
  } finally {
    await source.close();
  }
}

async function copy(
  source: FileHandle,
  written: string,
  { content, size }: { readonly content: Digest; readonly size: number },
): Promise<void> {
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  const target = await open(written, 'wx', 0o644);
  try {
    const write = (bytes: Buffer, at: number) => writeAll(target, bytes, at);
    if ((await hashedCopy(source, size, write)) !== content) {
      throw new ThinError('corrupt', `Cannot share ${content}: this node's file is something else`);
    }
    // Mounts that read the tier directly verify nothing: a crash must not leave a torn file.
    await target.sync();
  } finally {
    await target.close();
  }
}

/** Answers that are ready at the same moment. */
let outbox: SharedTierAnswer[] = [];

function send(answered: SharedTierAnswer): void {
  outbox.push(answered);
  if (outbox.length > 1) return;
  setImmediate(() => {
    process.send?.(outbox);
    outbox = [];
  });
}

process.on('message', (requests: readonly SharedTierRequest[]) => {
  for (const request of requests) {
    const { id } = request;
    void answer(request)
      .catch((error: unknown): Answer => {
        const failure = fromSystemError('', error);
        const ours = isThinError(failure, 'corrupt', 'not-found');
        return { is: 'failed', why: failure.message.replace(/^: /, ''), ours };
      })
      .then((result) => send({ id, ...result }));
  }
});
process.send?.([]); // it has started
// The daemon is gone. Threads that hang would keep us.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
