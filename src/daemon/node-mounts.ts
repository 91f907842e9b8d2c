import { join } from 'node:path';
import type { FileCache } from '../cache/file-cache.js';
import { describeError } from '../errors.js';
import { detachLeftovers } from '../mount/leftovers.js';
import { Composer, type ComposerOptions, type PartialFileEnds } from './composer.js';
import { Containers } from './containers.js';
import type { LeftFolder, MountSummary } from './control-api.js';
import { FileLists } from './file-lists.js';
import type { HotStarts } from './hot-starts.js';
import { ImageHolds } from './image-holds.js';
import { Mounts } from './mounts.js';
import { PortableRoots } from './portable-roots.js';
import type { Root } from './root.js';
import { Roots } from './roots.js';
import { Trees } from './trees.js';

export interface NodeMountsOptions extends ComposerOptions {
  readonly partialEnds: PartialFileEnds;
  readonly hot: HotStarts;
}

/**
 * Everything of this node that is mounted: opened with what outlived an earlier daemon, closed so
 * that what can go on without us does.
 */
export class NodeMounts implements AsyncDisposable {
  readonly mounts: Mounts;
  readonly containers: Containers;
  readonly composer: Composer;
  readonly roots: Roots;
  /** Images that are about to be mounted. */
  readonly holds = new ImageHolds();
  readonly #trees: Trees;
  #endsAll = false;

  static async open(options: NodeMountsOptions): Promise<NodeMounts> {
    const node = new NodeMounts(options);
    try {
      await node.#takeOver(options);
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(options: NodeMountsOptions) {
    const { root, runFolder, cache, images, live, log, hot } = options;
    this.#trees = new Trees(runFolder, cache, log, options.onMiss);
    this.composer = new Composer(options, options.partialEnds);
    hot.tellStarting((isStarting) => this.composer.starting(isStarting));
    const portable = new PortableRoots(this.#trees);
    const lists = new FileLists({ images, live, log });
    this.roots = new Roots({ composer: this.composer, portable, lists, cache, log });
    this.mounts = new Mounts(root, this.roots, log);
    this.containers = new Containers(root, runFolder, this.roots, hot, log);
  }

  list(): MountSummary[] {
    return [...this.mounts.list(), ...this.containers.list()];
  }

  /** Mounts and containers that cannot go on without this process. */
  get bound(): number {
    return this.mounts.portable + this.containers.portable;
  }

  /** Digests of the manifests of what is mounted, and has not ended. */
  inUse(): string[] {
    const live = this.list().filter(({ exitCode }) => exitCode === undefined);
    return live.map(({ manifest }) => manifest);
  }

  /** What cannot be read of earlier daemons' mounts and containers, or cannot be removed. */
  get left(): LeftFolder[] {
    return [...this.mounts.left, ...this.containers.left];
  }

  /** Whether an image is mounted, or about to be, or an ended container is of it. */
  isWanted(manifest: string): boolean {
    return this.holds.has(manifest) || this.list().some((each) => each.manifest === manifest);
  }

  /** Whether an image may be used: what cannot be read may use any. */
  mayUse(manifest: string): boolean {
    return this.left.length > 0 || this.inUse().includes(manifest);
  }

  /** Removes a container, or what is left of a mount. @throws ThinError `not-found`; `busy` if it is used */
  async remove(id: string): Promise<void> {
    if (this.mounts.left.some((left) => left.id === id)) await this.mounts.removeLeft(id);
    else await this.containers.remove(id);
  }

  /** Disposal takes away also what could go on. */
  endAll(): void {
    this.#endsAll = true;
  }

  /** Lets go of images that nothing has mounted. */
  async closeIdle(): Promise<void> {
    await this.mounts.forgetGone();
    await this.#trees.closeIdle();
    await this.composer.closeIdle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const which = { all: this.#endsAll };
    await this.containers.close(which);
    await this.mounts.close(which);
    await this.composer[Symbol.asyncDispose]();
    await this.#trees[Symbol.asyncDispose]();
  }

  /** Adopts what goes on, cleans up what a killed daemon left and nothing can bring back. */
  async #takeOver({ root, runFolder, cache, log }: NodeMountsOptions): Promise<void> {
    const [mounts, containers] = [await this.mounts.kept(), await this.containers.kept()];
    const adopted = await this.roots.adopt([...mounts, ...containers]);
    const lost: string[] = [];
    for (const [index, record] of mounts.entries()) {
      const found = adopted[index];
      if (found) this.mounts.adopt(record, found);
      else lost.push(...(await this.mounts.clean(record)));
    }
    for (const [index, record] of containers.entries()) {
      const found: Root | undefined = adopted[mounts.length + index];
      if (found) this.containers.adopt(record, found);
      else lost.push(...(await this.containers.clean(record)));
    }
    const objects = this.composer.objects;
    for (const folder of [join(runFolder, 'trees'), join(runFolder, 'metadata'), root]) {
      lost.push(...(await detachLeftovers(folder, objects)).detached);
    }
    if (lost.length > 0) log.warn({ lost }, 'a dead daemon left these mounts');
    // What was set aside at this start is to be found there no more.
    await this.roots.refreshAll();
    await releaseDeadLeases(cache).catch((error: unknown) => {
      // A full disk, say. They keep a few files until the next garbage collection.
      log.warn({ reason: describeError(error) }, 'leases of a dead daemon are left');
    });
  }
}

async function releaseDeadLeases(cache: FileCache): Promise<void> {
  for (const lease of await cache.leases()) if (!lease.alive) await cache.releaseLease(lease);
}
