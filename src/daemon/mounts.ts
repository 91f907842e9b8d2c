import { randomBytes } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { byteStringFromText, byteStringToBuffer } from '../byte-string.js';
import { describeError, fromSystemError, ThinError } from '../errors.js';
import { detachPath, resolveMountPoint } from '../fuse/kernel-mount.js';
import { readMountTable } from '../fuse/mount-table.js';
import { makeFolder } from '../make-folder.js';
import type { LeftFolder, MountSummary } from './control-api.js';
import { LeftFolders } from './left-folders.js';
import type { LiveImage } from './live-image.js';
import { detachOwn, standingOf, takeAway } from './own-mount.js';
import { readRecordFile, writeRecordFile } from './record-file.js';
import { type MountChoice, type Root, rootRecord } from './root.js';
import type { Roots } from './roots.js';

const mountRecord = z.object({
  version: z.literal(1),
  id: z.string(),
  reference: z.string(),
  manifest: z.string(),
  readOnly: z.boolean(),
  /** Milliseconds since 1970. */
  since: z.number(),
  /** Of what it was made for. */
  requestId: z.string().optional(),
  root: rootRecord,
});
type MountRecord = z.infer<typeof mountRecord>;

interface ActiveMount {
  readonly record: MountRecord;
  readonly root: Root;
}

export interface MountRequest {
  readonly reference: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly form: MountChoice;
  /** The same of requests of which one answer was lost. */
  readonly requestId?: string | undefined;
}

/** What `thin mount` mounted, by mount point; `mounts/<id>/` says of each how to find it again. */
export class Mounts {
  readonly #folder: string;
  readonly #roots: Pick<Roots, 'mount'>;
  readonly #log: Logger;
  readonly #left: LeftFolders;
  readonly #active = new Map<string, ActiveMount>();
  /** Mount points where something is being mounted. */
  readonly #coming = new Set<string>();

  /** @param root of the node's state: changes made in writable mounts lie below it */
  constructor(root: string, roots: Pick<Roots, 'mount'>, log: Logger) {
    this.#folder = join(root, 'mounts');
    this.#roots = roots;
    this.#log = log;
    this.#left = new LeftFolders('mount', this.#folder, log);
  }

  /** What an earlier daemon has mounted. */
  async kept(): Promise<MountRecord[]> {
    await makeFolder(this.#folder, 0o700);
    const records: MountRecord[] = [];
    for (const id of await readdir(this.#folder)) {
      const record = await this.#read(id);
      if (record) records.push(record);
    }
    return records;
  }

  /** Removes what was being made. What cannot be read is left: it may be in use, and have changes. */
  async #read(id: string): Promise<MountRecord | undefined> {
    try {
      const record = await readRecordFile(join(this.#folder, id, recordName), mountRecord);
      if (!record) await this.#remove(id);
      return record;
    } catch (error) {
      this.#left.leave(id, error);
      return undefined;
    }
  }

  /** It goes on. */
  adopt(record: MountRecord, root: Root): void {
    this.#add({ record, root });
  }

  /** It ended with its daemon. @returns its mount point, if something was left there */
  async clean({ id, root }: MountRecord): Promise<string[]> {
    const { target } = root;
    const standing = await standingOf(target);
    await this.#takeAway(id, { detach: () => takeAway(target, detachPath) });
    return standing === 'seen' ? [target] : [];
  }

  list(): MountSummary[] {
    return [...this.#active.values()].map(({ record, root }) => ({
      id: record.id,
      kind: 'mount' as const,
      target: root.record.target,
      reference: record.reference,
      manifest: record.manifest,
      readOnly: record.readOnly,
      form: root.record.form,
      server: root.record.server,
      since: record.since,
    }));
  }

  /** Those that somebody took away by umount(8), which tells nobody. */
  async forgetGone(): Promise<void> {
    for (const [target, { root }] of this.#active) {
      if (root.record.form === 'composed' && (await standingOf(target)) === 'gone') {
        await root.detach();
      }
    }
  }

  /** Mounts that end with this process. */
  get portable(): number {
    return this.list().filter(({ form }) => form === 'portable').length;
  }

  /** @throws ThinError `busy` if the folder is a mount of ours or is not empty */
  async mount(image: LiveImage, request: MountRequest): Promise<MountSummary> {
    const target = await resolveMountPoint(request.target);
    await this.forgetGone();
    const there = this.#active.get(target);
    if (there && request.requestId !== undefined && there.record.requestId === request.requestId) {
      return this.#summary(target);
    }
    if (there || this.#coming.has(target)) {
      throw new ThinError('busy', `Cannot mount at ${target}: an image is mounted there`);
    }
    this.#coming.add(target);
    try {
      await refuseUnfit(target);
      await this.#make(image, request, target);
    } finally {
      this.#coming.delete(target);
    }
    return this.#summary(target);
  }

  async #make(image: LiveImage, request: MountRequest, target: string): Promise<void> {
    const id = randomBytes(6).toString('hex');
    const directory = join(this.#folder, id);
    const changes = request.readOnly ? undefined : directory;
    const { reference, readOnly, requestId } = request;
    const { manifest } = image;
    const since = Date.now();
    const base = { version: 1 as const, id, reference, manifest, readOnly, since, requestId };
    const path = join(directory, recordName);
    let root: Root | undefined;
    try {
      await makeFolder(directory, 0o700);
      // If we are killed meanwhile, this says where something may be mounted.
      await writeRecordFile(
        path,
        { ...base, root: { target, form: 'portable', server: '' } },
        { synced: false },
      );
      root = await this.#roots.mount(image, { target, changes }, request.form);
      const record = { ...base, root: root.record };
      this.#add({ record, root });
      await writeRecordFile(path, record, { synced: true });
    } catch (error) {
      await this.#takeAway(id, root);
      throw fromSystemError(`Cannot mount at ${target}`, error);
    }
  }

  /** What cannot be taken away is left: that is no reason to do no more, or to tell of nothing else. */
  async #takeAway(id: string, root: Pick<Root, 'detach'> | undefined): Promise<void> {
    try {
      await root?.detach();
      await this.#remove(id);
    } catch (error) {
      this.#left.leave(id, error);
    }
  }

  #add(active: ActiveMount): void {
    const { target } = active.root.record;
    this.#active.set(target, active);
    const { id } = active.record;
    const forget = async () => {
      if (this.#active.get(target) === active) this.#active.delete(target);
      await this.#remove(id);
    };
    active.root.ended.then(forget).catch((error: unknown) => {
      this.#log.warn({ id, reason: describeError(error) }, 'what a mount has left stays');
    });
  }

  #summary(target: string): MountSummary {
    const found = this.list().find((mounted) => mounted.target === target);
    if (found) return found;
    throw new ThinError('unavailable', `Cannot mount at ${target}: it was unmounted at once`);
  }

  /** @param name mount point or id @throws ThinError `not-found`; `busy` unless `force` */
  async unmount(name: string, force: boolean): Promise<MountSummary> {
    const summary = this.list().find(({ target, id }) => target === name || id === name);
    const active = summary && this.#active.get(summary.target);
    if (!summary || !active) {
      throw new ThinError('not-found', `Cannot unmount ${name}: no image is mounted there`);
    }
    await (force ? active.root.detach() : active.root.unmount());
    await this.#remove(summary.id);
    return summary;
  }

  get left(): LeftFolder[] {
    return this.#left.list();
  }

  /**
   * Removes what is left of one whose record cannot be read.
   * @throws ThinError `busy` if it is mounted somewhere, as far as that can be seen
   */
  async removeLeft(id: string): Promise<void> {
    const changes = byteStringFromText(`upperdir=${join(this.#folder, id, 'upper')}`);
    const own = byteStringFromText(join(this.#folder, id, 'merged'));
    const mounted = (await readMountTable()).find(
      ({ mountPoint, options }) => mountPoint !== own && options.split(',').includes(changes),
    );
    if (mounted) {
      const place = byteStringToBuffer(mounted.mountPoint).toString('utf8');
      const what = `it is mounted at ${place} (wanted: umount ${place})`;
      throw new ThinError('busy', `Cannot remove mount ${id}: ${what}`);
    }
    await this.#remove(id);
  }

  /** Ends those that could not go on without this process, or all. */
  async close({ all }: { readonly all: boolean }): Promise<void> {
    for (const [target, { record, root }] of this.#active) {
      if (!all && root.record.form === 'composed') continue;
      this.#active.delete(target);
      await this.#takeAway(record.id, root);
    }
  }

  /** @throws ThinError if something stays mounted in it: what is there is not to be removed */
  async #remove(id: string): Promise<void> {
    const directory = join(this.#folder, id);
    await detachOwn(join(directory, 'merged'));
    await rm(directory, { recursive: true, force: true });
    this.#left.forget(id);
  }
}

const recordName = 'mount.json';

/** Hiding what is in a folder is hardly ever meant. */
async function refuseUnfit(target: string): Promise<void> {
  let names: string[];
  try {
    const { dev } = await stat(target);
    const parent = await stat(join(target, '..'));
    if (dev !== parent.dev) {
      throw new ThinError('busy', `Cannot mount at ${target}: something is mounted there`);
    }
    names = await readdir(target);
  } catch (error) {
    throw fromSystemError(`Cannot mount at ${target}`, error);
  }
  if (names.length === 0) return;
  throw new ThinError('busy', `Cannot mount at ${target}: it is not empty`);
}
