import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mount, mountFlags } from '../../native-bindings/mount-calls.js';
import { fromSystemError, ThinError } from '../errors.js';
import { detachPath, mountSource, resolveMountPoint, unmountPath } from '../fuse/kernel-mount.js';
import { findMount } from '../fuse/mount-table.js';
import { mountOverlay } from '../mount/overlay.js';
import type { MountSummary } from './control-api.js';
import type { LiveImage } from './live-image.js';
import type { Trees } from './trees.js';

interface ActiveMount {
  readonly summary: MountSummary;
  /** Polite: `busy` if something uses it. Then everything that belongs to the mount is released. */
  unmount(): Promise<void>;
  detach(): Promise<void>;
}

/** What `thin mount` mounted, by mount point. */
export class Mounts implements AsyncDisposable {
  readonly #folder: string;
  readonly #trees: Trees;
  readonly #active = new Map<string, ActiveMount>();

  /** @param root of the node's state: changes made in writable mounts lie below it */
  constructor(root: string, trees: Trees) {
    this.#folder = join(root, 'mounts');
    this.#trees = trees;
  }

  /** Takes away what a killed daemon left at people's mount points. @returns these */
  async detachLeftovers(): Promise<string[]> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const detached: string[] = [];
    for (const id of await readdir(this.#folder)) {
      const directory = join(this.#folder, id);
      const target = await readFile(join(directory, targetFile), 'utf8').catch(() => undefined);
      if (target !== undefined && (await isMounted(target))) {
        await detachPath(target);
        detached.push(target);
      }
      await detachPath(join(directory, 'merged')).catch(() => {});
      await rm(directory, { recursive: true, force: true });
    }
    return detached;
  }

  list(): MountSummary[] {
    return [...this.#active.values()].map(({ summary }) => summary);
  }

  /** @throws ThinError `busy` if the folder is a mount of ours or is not empty */
  async mount(
    image: LiveImage,
    request: { readonly reference: string; readonly target: string; readonly readOnly: boolean },
  ): Promise<MountSummary> {
    const target = await resolveMountPoint(request.target);
    if (this.#active.has(target)) {
      throw new ThinError('busy', `Cannot mount at ${target}: an image is mounted there`);
    }
    await refuseUnfit(target);
    const base = {
      id: randomBytes(6).toString('hex'),
      kind: 'mount' as const,
      target,
      reference: request.reference,
      manifest: image.manifest,
      readOnly: request.readOnly,
      since: Date.now(),
    };
    const active = request.readOnly
      ? await this.#mountTree(image, base)
      : await this.#mountWritable(image, base);
    this.#active.set(target, active);
    return active.summary;
  }

  async #mountTree(image: LiveImage, base: Omit<MountSummary, 'server'>): Promise<ActiveMount> {
    const { target } = base;
    const directory = join(this.#folder, base.id);
    await recordTarget(directory, target);
    const forget = (): Promise<void> => rm(directory, { recursive: true, force: true });
    const server = await this.#trees.mount(image, target, 'image').catch(async (error) => {
      await forget();
      throw error;
    });
    void server.ended.then(() => {
      this.#active.delete(target);
      return forget();
    });
    return {
      summary: { ...base, server: server.implementation },
      unmount: () => server.unmount(),
      detach: async () => {
        await server[Symbol.asyncDispose]();
      },
    };
  }

  async #mountWritable(image: LiveImage, base: Omit<MountSummary, 'server'>): Promise<ActiveMount> {
    const { target } = base;
    const directory = join(this.#folder, base.id);
    const tree = await this.#trees.use(image);
    const release = async (): Promise<void> => {
      await detachPath(join(directory, 'merged')).catch(() => {});
      await rm(directory, { recursive: true, force: true });
      tree.release();
    };
    try {
      await recordTarget(directory, target);
      const overlay = await mountOverlay({ lower: tree.mountPoint, directory });
      await mount({ source: overlay.merged, target, type: '', flags: mountFlags.bind });
    } catch (error) {
      await release();
      throw error;
    }
    return {
      summary: { ...base, server: tree.implementation },
      unmount: async () => {
        await unmountPath(target);
        await release();
      },
      detach: async () => {
        await detachPath(target);
        await release();
      },
    };
  }

  /** @param name mount point or id @throws ThinError `not-found`; `busy` unless `force` */
  async unmount(name: string, force: boolean): Promise<MountSummary> {
    const found = [...this.#active].find(([target, { summary }]) => {
      return target === name || summary.id === name;
    });
    if (!found) {
      throw new ThinError('not-found', `Cannot unmount ${name}: no image is mounted there`);
    }
    const [target, active] = found;
    await (force ? active.detach() : active.unmount());
    this.#active.delete(target);
    return active.summary;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [target, active] of this.#active) {
      this.#active.delete(target);
      await active.detach();
    }
  }
}

/** In a mount's folder: where it is, for whoever cleans up after a killed daemon. */
const targetFile = 'target';

async function recordTarget(directory: string, target: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writeFile(join(directory, targetFile), target);
  } catch (error) {
    throw fromSystemError(`Cannot keep the state of a mount in ${directory}`, error);
  }
}

/** True for a mount of ours: something else may have come to the same place since. */
async function isMounted(target: string): Promise<boolean> {
  const found = await findMount(target);
  return found !== undefined && found.source === mountSource;
}

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
