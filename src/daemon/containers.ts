import { randomBytes } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { fromSystemError, ThinError } from '../errors.js';
import { detachPath } from '../fuse/kernel-mount.js';
import { writeBundle } from '../mount/bundle.js';
import { mountOverlay } from '../mount/overlay.js';
import { type ContainerKey, containerState, deleteContainer, findRuntime } from '../mount/runc.js';
import type { CheckedRequest, ContainerStart, MountSummary } from './control-api.js';
import type { LiveImage } from './live-image.js';
import type { Trees, TreeUse } from './trees.js';

export type ContainerRequest = CheckedRequest<'container.create'>;

const containerRecord = z.object({
  version: z.literal(1),
  id: z.string(),
  reference: z.string(),
  manifest: z.string(),
  readOnly: z.boolean(),
  server: z.string(),
  /** Absolute path of the program that runs it. */
  runtime: z.string(),
  /** Milliseconds since 1970. */
  since: z.number(),
  /** Absent while it runs. */
  exitCode: z.number().int().optional(),
});
type ContainerRecord = z.infer<typeof containerRecord>;

interface Container {
  record: ContainerRecord;
  readonly remove: boolean;
  /** Connections of the command that runs it: one, unless it has just been lost or replaced. */
  commands: number;
  /** Absent once it has ended. */
  tree: TreeUse | undefined;
}

const idGrammar = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;
/** Milliseconds between two looks at a container whose command was cut off from us. */
const orphanPollMs = 1000;

/**
 * Containers: `containers/<id>/` holds the bundle, the writable layer and `container.json`. The
 * command that runs one holds a connection; if that breaks, the container is left to end by itself.
 */
export class Containers implements AsyncDisposable {
  readonly #folder: string;
  readonly #runtimeRoot: string;
  readonly #trees: Trees;
  readonly #containers = new Map<string, Container>();
  readonly #stopping = new AbortController();

  private constructor(root: string, runFolder: string, trees: Trees) {
    this.#folder = join(root, 'containers');
    this.#runtimeRoot = join(runFolder, 'runtime');
    this.#trees = trees;
  }

  /** Reads ended containers; those that a dead daemon left half-run are removed. */
  static async open(root: string, runFolder: string, trees: Trees): Promise<Containers> {
    const containers = new Containers(root, runFolder, trees);
    await mkdir(containers.#folder, { recursive: true, mode: 0o700 });
    for (const id of await readdir(containers.#folder)) await containers.#restore(id);
    return containers;
  }

  async #restore(id: string): Promise<void> {
    const path = join(this.#folder, id);
    const text = await readFile(join(path, 'container.json'), 'utf8').catch(() => 'null');
    const parsed = containerRecord.safeParse(JSON.parse(text));
    if (parsed.success && parsed.data.exitCode !== undefined) {
      this.#containers.set(id, {
        record: parsed.data,
        remove: false,
        commands: 0,
        tree: undefined,
      });
      return;
    }
    if (parsed.success) await deleteContainer(this.#key(parsed.data)).catch(() => {});
    await rm(path, { recursive: true, force: true });
  }

  list(): MountSummary[] {
    return [...this.#containers.values()].map(({ record }) => ({
      id: record.id,
      kind: 'container' as const,
      target: join(this.#folder, record.id, 'merged'),
      reference: record.reference,
      manifest: record.manifest,
      readOnly: record.readOnly,
      server: record.server,
      since: record.since,
      ...(record.exitCode !== undefined && { exitCode: record.exitCode }),
    }));
  }

  /** Makes everything that `runc run` needs. @throws ThinError `busy` if the name is taken */
  async create(
    image: LiveImage,
    request: ContainerRequest,
    signal: AbortSignal,
  ): Promise<ContainerStart> {
    const id = request.name ?? randomBytes(6).toString('hex');
    if (!idGrammar.test(id)) {
      throw new ThinError(
        'invalid',
        `Cannot name a container "${id}": wanted letters, digits, _ . -`,
      );
    }
    if (this.#containers.has(id)) {
      throw new ThinError('busy', `Cannot name a container ${id}: there is one (thin rm ${id})`);
    }
    const runtime = findRuntime(request.runtime);
    const tree = await this.#trees.use(image);
    const record = {
      version: 1 as const,
      id,
      reference: request.reference,
      manifest: image.manifest,
      readOnly: request.readOnly,
      server: tree.implementation,
      runtime,
      since: Date.now(),
    };
    this.#containers.set(id, { record, remove: request.remove, commands: 1, tree });
    try {
      const bundle = await this.#writeBundle(image, tree, id, request, signal);
      await this.#write(record);
      return { id, ...bundle, runtime, runtimeRoot: this.#runtimeRoot };
    } catch (error) {
      await this.#forget(id);
      throw error;
    }
  }

  async #writeBundle(
    image: LiveImage,
    tree: TreeUse,
    id: string,
    request: ContainerRequest,
    signal: AbortSignal,
  ): Promise<{ bundle: string; stopSignal: string }> {
    const directory = join(this.#folder, id);
    const overlay = await mountOverlay({ lower: tree.mountPoint, directory });
    const { directory: bundle, stopSignal } = await writeBundle({
      directory,
      id,
      rootfs: overlay.merged,
      config: image.config,
      readImageFile: (path, bytesMax) => image.readSmallFile(path, bytesMax, signal),
      command: request.command,
      entrypoint: request.entrypoint,
      env: request.env,
      user: request.user,
      workdir: request.workdir,
      hostname: request.hostname,
      volumes: request.volumes,
      network: request.network,
      readOnly: request.readOnly,
      memory: request.memory,
      terminal: request.terminal,
    });
    return { bundle, stopSignal };
  }

  /** Its command has ended: unmounts it, and forgets it if it was run with `--rm`. */
  async end(id: string, exitCode: number): Promise<void> {
    const container = this.#find(id);
    if (!container.tree) return;
    await deleteContainer(this.#key(container.record));
    if (container.remove) {
      await this.#forget(id);
      return;
    }
    await this.#unmount(container);
    container.record = { ...container.record, exitCode };
    await this.#write(container.record);
  }

  /** Its command has a connection again. @throws ThinError `not-found` if it does not run */
  attach(id: string): void {
    const container = this.#find(id);
    if (!container.tree) throw new ThinError('not-found', `Cannot attach to ${id}: it has ended`);
    container.commands++;
  }

  /** The command that ran it is gone: whoever is still in it is left to finish. */
  async lost(id: string): Promise<void> {
    const container = this.#containers.get(id);
    if (!container) return;
    container.commands--;
    if (!container.tree) return;
    const key = this.#key(container.record);
    while ((await containerState(key).catch(() => undefined))?.status === 'running') {
      const stopped = { signal: this.#stopping.signal, ref: false };
      await delay(orphanPollMs, undefined, stopped).catch(() => {});
      if (this.#stopping.signal.aborted || container.commands > 0) return;
    }
    // Its exit code went to the command that is gone.
    if (this.#containers.get(id)?.tree) await this.end(id, unknownExitCode);
  }

  /** @throws ThinError `not-found`; `busy` if it runs */
  async remove(id: string): Promise<void> {
    if (this.#find(id).tree) throw new ThinError('busy', `Cannot remove container ${id}: it runs`);
    await this.#forget(id);
  }

  /** Removes all that have ended. */
  async removeEnded(): Promise<void> {
    for (const [id, { tree }] of this.#containers) if (!tree) await this.#forget(id);
  }

  get running(): number {
    return [...this.#containers.values()].filter(({ tree }) => tree).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    for (const [id, { tree, record }] of this.#containers) {
      if (!tree) continue;
      await deleteContainer(this.#key(record)).catch(() => {});
      await this.#forget(id);
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

  async #forget(id: string): Promise<void> {
    const container = this.#containers.get(id);
    if (container) await this.#unmount(container);
    this.#containers.delete(id);
    await rm(join(this.#folder, id), { recursive: true, force: true });
  }

  async #unmount(container: Container): Promise<void> {
    const { tree } = container;
    container.tree = undefined;
    const merged = join(this.#folder, container.record.id, 'merged');
    const mounted = await access(merged).then(
      () => true,
      () => false,
    );
    if (mounted) await detachPath(merged).catch(() => {});
    tree?.release();
  }

  async #write(record: ContainerRecord): Promise<void> {
    const path = join(this.#folder, record.id, 'container.json');
    try {
      await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
      await rename(`${path}.new`, path);
    } catch (error) {
      throw fromSystemError(`Cannot keep container ${record.id}`, error);
    }
  }
}

/** For a container whose end nobody saw. */
const unknownExitCode = 255;
