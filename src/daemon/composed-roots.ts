import { join } from 'node:path';
import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import { detachPath, unmountPath } from '../fuse/kernel-mount.js';
import { mountComposed, refreshComposed } from '../mount/composed-mount.js';
import type { ComposedImage, ComposedImages, ComposedUse } from './composed-images.js';
import { standingOf, takeAway } from './own-mount.js';
import type { Root, RootRecord, RootRequest } from './root.js';

/** Roots that the kernel puts together: they outlive this process. */
export class ComposedRoots {
  readonly #images: ComposedImages;
  /** Directories of complete files now, in the order in which they are looked at. */
  readonly #tiers: () => readonly string[];
  readonly #server: string;
  /** Mounted now, by image. */
  readonly #mounted = new Map<Digest, Set<RootRecord>>();

  constructor(images: ComposedImages, tiers: () => readonly string[], server: string) {
    this.#images = images;
    this.#tiers = tiers;
    this.#server = server;
  }

  /** @throws ThinError `unavailable`, `denied` if the kernel refuses */
  async mount(image: ComposedImage, { target, changes }: RootRequest): Promise<Root> {
    const use = await this.#images.use(image);
    const record = { target, changes, form: 'composed', server: this.#server } as const;
    try {
      await mountComposed({
        metadata: use.metadata,
        data: [...this.#tiers(), use.objects],
        target,
        changes: changes === undefined ? undefined : layersOf(changes),
        sealed: changes === undefined,
      });
      return this.#rootOf(image.manifest, record, use);
    } catch (error) {
      use.release();
      throw error;
    }
  }

  /** A root that an earlier daemon mounted, if it is still there. */
  async adopt(image: ComposedImage, record: RootRecord): Promise<Root | undefined> {
    if ((await standingOf(record.target)) === 'gone') return undefined;
    return this.#rootOf(image.manifest, record, await this.#images.use(image));
  }

  /** Images with roots. */
  get mounted(): Digest[] {
    return [...this.#mounted.keys()];
  }

  /** Makes the kernel look for the image's files in the tiers again. */
  async refresh(manifest: Digest): Promise<void> {
    for (const { target, changes } of this.#mounted.get(manifest) ?? []) {
      if ((await standingOf(target)) !== 'seen') continue; // another's would be made read-only
      await refreshComposed(target, changes === undefined).catch((error: unknown) => {
        // Somebody has unmounted it.
        if (!isThinError(error, 'invalid', 'not-found')) throw error;
      });
    }
  }

  #rootOf(manifest: Digest, record: RootRecord, use: ComposedUse): Root {
    const mounted = this.#mounted.get(manifest) ?? new Set();
    this.#mounted.set(manifest, mounted.add(record));
    let end = (): void => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const release = (): void => {
      mounted.delete(record);
      if (mounted.size === 0) this.#mounted.delete(manifest);
      use.release();
      end();
    };
    const { target } = record;
    return {
      record,
      ended,
      unmount: () => takeAway(target, unmountPath).then(release),
      detach: () => takeAway(target, detachPath).then(release),
    };
  }
}

function layersOf(changes: string): { upper: string; work: string } {
  return { upper: join(changes, 'upper'), work: join(changes, 'work') };
}
