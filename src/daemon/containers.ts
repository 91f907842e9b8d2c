import { randomBytes } from 'node:crypto';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { describeError, ThinError } from '../errors.js';
import { detachPath } from '../fuse/kernel-mount.js';
import { type ContainerKey, containerState, deleteContainer, findRuntime } from '../mount/runc.js';
import { writeContainerBundle } from './container-bundle.js';
import { ContainerFolders } from './container-folders.js';
import { type ContainerRecord, containerSummary } from './container-record.js';
import type { CheckedRequest, ContainerStart, LeftFolder, MountSummary } from './control-api.js';
import type { HotStarts } from './hot-starts.js';
import { JoinedWork } from './joined-work.js';
import type { LiveImage } from './live-image.js';
import type { Root } from './root.js';
import type { Roots } from './roots.js';

export type ContainerRequest = CheckedRequest<'container.create'>;

interface Container {
  record: ContainerRecord;
  /** Connections of the command that runs it: one, unless it has just been lost or replaced. */
  commands: number;
  /** Absent once it has been taken away. */
  root: Root | undefined;
  /** Of its command, as whoever told it first had it. */
  exitCode?: number;
}

/** Milliseconds between two looks at a container whose command was cut off from us. */
const orphanPollMs = 1000;
/** Milliseconds for a command to find the daemon again that took over. */
const attachGraceMs = 15_000;

/**
 * Containers: `containers/<id>/` holds the bundle, the writable layer and `container.json`. The
 * command that runs one holds a connection; if that breaks, the container is left to end by itself.
 */
export class Containers {
  readonly #folders: ContainerFolders;
  readonly #runtimeRoot: string;
  /** Tells it from other nodes of this machine. */
  readonly #node: string;
  readonly #roots: Pick<Roots, 'mount'>;
  readonly #hot: HotStarts;
  readonly #containers = new Map<string, Container>();
  readonly #log: Logger;
  /** Names of those that are being made. */
  readonly #coming = new Set<string>();
  readonly #finishing = new JoinedWork();
  readonly #unmounting = new JoinedWork();
  /** Their names are free when nothing of them is left. */
  readonly #leaving = new JoinedWork();
  readonly #stopping = new AbortController();

  constructor(
    root: string,
    runFolder: string,
    roots: Pick<Roots, 'mount'>,
    hot: HotStarts,
    log: Logger,
  ) {
    this.#folders = new ContainerFolders(root, log);
    this.#runtimeRoot = join(runFolder, 'runtime');
    this.#node = basename(runFolder);
    this.#roots = roots;
    this.#hot = hot;
    this.#log = log;
  }

  /** What an earlier daemon ran and nobody has ended; those that have ended are read besides. */
  async kept(): Promise<ContainerRecord[]> {
    const records = await this.#folders.read();
    for (const record of records.filter(({ exitCode }) => exitCode !== undefined)) {
      this.#containers.set(record.id, { record, commands: 0, root: undefined });
      await detachPath(record.root.target); // that daemon may have died before it did
    }
    return records.filter(({ exitCode }) => exitCode === undefined);
  }

  /** It goes on: its command will find us, or it ends without one. @param graceMs for its command */
  adopt(record: ContainerRecord, root: Root, graceMs = attachGraceMs): void {
    this.#containers.set(record.id, { record, commands: 0, root });
    const lost = this.attach(record.id);
    const grace = { signal: this.#stopping.signal, ref: false };
    delay(graceMs, undefined, grace).then(lost, () => {});
  }

  /** Its root ended with its daemon; what it has changed stays, if it was to stay. @returns that root */
  async clean(record: ContainerRecord): Promise<string[]> {
    await deleteContainer(this.#key(record)).catch(() => {});
    const container: Container = { record, commands: 0, root: undefined };
    this.#containers.set(record.id, container);
    await this.#finish(container, unknownExitCode).catch((error: unknown) => {
      // On a full disk, say: the next start finds it as we did.
      this.#log.warn({ id: record.id, reason: describeError(error) }, 'an end is not written down');
      container.record = { ...record, exitCode: unknownExitCode };
    });
    await detachPath(record.root.target);
    return [record.root.target];
  }

  get left(): LeftFolder[] {
    return this.#folders.left.list();
  }

  list(): MountSummary[] {
    return [...this.#containers.values()].map(({ record }) => containerSummary(record));
  }

  /**
   * Makes everything that `runc run` needs; {@link attach} is to follow. @throws ThinError `busy` if the name is taken
   */
  async create(
    image: LiveImage,
    request: ContainerRequest,
    signal: AbortSignal,
  ): Promise<ContainerStart> {
    const id = request.name ?? randomBytes(6).toString('hex');
    if (request.requestId !== undefined) await this.#forgetUnused(request.requestId);
    if (this.#leaving.isGoing(id)) await this.#forget(id);
    this.#checkName(id);
    this.#coming.add(id);
    try {
      const runtime = findRuntime(request.runtime);
      const key = { id, runtime, root: this.#runtimeRoot };
      this.#hot.begin({ key, config: image.config }, image, request);
      const bundle = await this.#make(image, { ...request, id, runtime }, signal);
      return { id, ...bundle, runtime, runtimeRoot: this.#runtimeRoot };
    } catch (error) {
      await this.#forget(id).catch((left: unknown) => this.#folders.left.leave(id, left));
      throw error;
    } finally {
      this.#coming.delete(id);
    }
  }

  /** Made for the same request by a daemon that died before its answer came: nothing runs in it. */
  async #forgetUnused(requestId: string): Promise<void> {
    for (const [id, { record }] of this.#containers) {
      if (record.requestId === requestId) await this.#forget(id);
    }
  }

  #checkName(id: string): void {
    this.#folders.checkName(id);
    if (this.#containers.has(id) || this.#coming.has(id)) {
      throw new ThinError('busy', `Cannot name a container ${id}: there is one (thin rm ${id})`);
    }
  }

  async #make(
    image: LiveImage,
    request: ContainerRequest & { readonly id: string; readonly runtime: string },
    signal: AbortSignal,
  ): Promise<{ bundle: string; stopSignal: string }> {
    const { id, requestId, runtime, reference, readOnly, remove } = request;
    const directory = this.#folders.path(id);
    const place = { target: join(directory, 'merged'), changes: directory };
    const root = await this.#roots.mount(image, place, request.form);
    const record = {
      version: 1 as const,
      id,
      reference,
      manifest: image.manifest,
      readOnly,
      remove,
      requestId,
      root: root.record,
      runtime,
      since: Date.now(),
    };
    this.#containers.set(id, { record, commands: 0, root });
    // Both have ended when one has failed: what they write is removed then.
    const [bundle, written] = await Promise.allSettled([
      writeContainerBundle({ image, directory, node: this.#node, request, signal }),
      this.#folders.write(record),
    ]);
    if (bundle.status === 'rejected') throw bundle.reason;
    if (written.status === 'rejected') throw written.reason;
    return bundle.value;
  }

  /** It has written the line by which it is known to have started. */
  ready(id: string): null {
    this.#hot.ready(id);
    return null;
  }

  /**
   * Its command has ended: unmounts it, and forgets it if it was run with `--rm`.
   * @throws ThinError `no-space` if that cannot be written down: then it is tried again
   */
  async end(id: string, exitCode: number): Promise<void> {
    const container = this.#find(id);
    if (!container.root) return;
    container.exitCode ??= exitCode;
    await deleteContainer(this.#key(container.record));
    await this.#finish(container, container.exitCode);
  }

  #finish(container: Container, exitCode: number): Promise<void> {
    return this.#finishing.join(container.record.id, () => this.#finishOne(container, exitCode));
  }

  /** Written down first: a container without root whose record says that it runs looks like a lost one. */
  async #finishOne(container: Container, exitCode: number): Promise<void> {
    const { id, remove } = container.record;
    if (remove) return this.#forget(id);
    const record = { ...container.record, exitCode };
    await this.#folders.write(record);
    container.record = record;
    await this.#unmount(container);
  }

  /**
   * Its command has a connection.
   * @returns to be called when that is gone: whoever is still in the container is left to finish
   * @throws ThinError `not-found` if it does not run
   */
  attach(id: string): () => void {
    const container = this.#find(id);
    if (!runs(container)) {
      throw new ThinError('not-found', `Cannot attach to ${id}: it has ended`);
    }
    container.commands++;
    return () => {
      container.commands--;
      void this.#watch(container);
    };
  }

  /** Ends it when nobody is in it any more, unless a command finds it again. Never fails. */
  async #watch(container: Container): Promise<void> {
    const { signal } = this.#stopping;
    let failures = 0;
    while (this.#isOrphan(container)) {
      await this.#endIfOver(container).catch((error: unknown) => {
        if (failures++ > 0) return;
        const { id } = container.record;
        this.#log.warn({ id, reason: describeError(error) }, 'a container cannot be ended yet');
      });
      if (this.#isOrphan(container)) {
        await delay(orphanPollMs, undefined, { signal, ref: false }).catch(() => {});
      }
    }
  }

  /** One that is stopped for the moment, or of which nothing can be told now, has not ended. */
  async #endIfOver(container: Container): Promise<void> {
    const state = await containerState(this.#key(container.record));
    if (state !== undefined && state.status !== 'stopped') return;
    // The exit code went to the command that is gone.
    if (this.#isOrphan(container)) await this.end(container.record.id, unknownExitCode);
  }

  #isOrphan({ commands, root }: Container): boolean {
    return commands === 0 && root !== undefined && !this.#stopping.signal.aborted;
  }

  /** Connections are about to be closed: what is in containers goes on. */
  stopWatching(): void {
    this.#stopping.abort();
  }

  /** @throws ThinError `not-found`; `busy` if it runs */
  async remove(id: string): Promise<void> {
    if (this.#folders.left.has(id) && !this.#containers.has(id)) {
      const root = this.#runtimeRoot;
      return this.#leaving.join(id, () => this.#folders.removeLeft({ id, root }));
    }
    if (runs(this.#find(id))) {
      throw new ThinError('busy', `Cannot remove container ${id}: it runs`);
    }
    await this.#forget(id);
  }

  /** Removes all that have ended. */
  async removeEnded(): Promise<void> {
    const ended = [...this.#containers.values()].filter((container) => !runs(container));
    for (const { record } of ended) await this.#forget(record.id);
  }

  /** Containers whose root ends with this process. */
  get portable(): number {
    const running = [...this.#containers.values()].filter(({ root }) => root);
    return running.filter(({ record }) => record.root.form === 'portable').length;
  }

  get running(): number {
    return [...this.#containers.values()].filter(({ root }) => root).length;
  }

  /** Ends those that could not go on without this process, or all. */
  async close({ all }: { readonly all: boolean }): Promise<void> {
    this.stopWatching();
    for (const container of this.#containers.values()) {
      const { record, root } = container;
      if (!root || (!all && record.root.form === 'composed')) continue;
      await deleteContainer(this.#key(record)).catch(() => {});
      // What is not written down is by the next daemon.
      await this.#finish(container, unknownExitCode)
        .catch(() => this.#unmount(container))
        .catch((error: unknown) => this.#folders.left.leave(record.id, error));
    }
  }

  #key({ id, runtime }: ContainerRecord): ContainerKey {
    return { id, runtime, root: this.#runtimeRoot };
  }

  #find(id: string): Container {
    const container = this.#containers.get(id);
    if (container) return container;
    throw new ThinError('not-found', `Cannot find container ${id} (thin status lists them)`);
  }

  #forget(id: string): Promise<void> {
    return this.#leaving.join(id, async () => {
      const container = this.#containers.get(id);
      if (container) {
        const { record, exitCode = unknownExitCode } = container;
        container.record = { exitCode, ...record }; // whatever is left of it
        await this.#unmount(container);
      }
      this.#hot.end(id);
      await this.#folders.remove(id);
      this.#containers.delete(id);
    });
  }

  /** Its root is known until it is gone: what fails is tried again. */
  #unmount(container: Container): Promise<void> {
    const { id } = container.record;
    return this.#unmounting.join(id, async () => {
      this.#hot.end(id);
      await container.root?.detach();
      container.root = undefined;
    });
  }
}

function runs({ root, record }: Container): boolean {
  return root !== undefined && record.exitCode === undefined;
}

/** For a container whose end nobody saw. */
const unknownExitCode = 255;
