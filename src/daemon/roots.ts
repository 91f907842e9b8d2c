import type { Logger } from 'pino';
import type { FileCache } from '../cache/file-cache.js';
import { type Digest, parseDigest } from '../digest.js';
import { describeError, isThinError } from '../errors.js';
import type { SharedFileList } from '../fuse/file-list.js';
import type { ComposedRoots } from './composed-roots.js';
import type { Composer } from './composer.js';
import type { FileLists } from './file-lists.js';
import type { LiveImage } from './live-image.js';
import type { PortableRoots } from './portable-roots.js';
import type { MountChoice, Root, RootRecord, RootRequest } from './root.js';

/** Bytes that a container needs before it writes anything: its bundle, its log, mount points. */
const ownBytes = 1024 * 1024;

/** A root that an earlier daemon wrote down. */
export interface KeptRoot {
  readonly manifest: string;
  readonly root: RootRecord;
}

/** Makes images into root file systems, in the form that was asked for or the best there is. */
export class Roots {
  readonly #composer: Composer;
  readonly #portable: PortableRoots;
  readonly #lists: FileLists;
  readonly #cache: FileCache;
  readonly #log: Logger;

  constructor(parts: {
    composer: Composer;
    portable: PortableRoots;
    lists: FileLists;
    cache: FileCache;
    log: Logger;
  }) {
    this.#composer = parts.composer;
    this.#portable = parts.portable;
    this.#lists = parts.lists;
    this.#cache = parts.cache;
    this.#log = parts.log;
  }

  /** An image is on its way that will be mounted. */
  prepare(choice: MountChoice): void {
    if (choice !== 'portable') this.#composer.prepare();
  }

  /** @throws ThinError `unavailable` if it cannot be had in the form that was asked for */
  async mount(image: LiveImage, request: RootRequest, choice: MountChoice): Promise<Root> {
    await this.#cache.giveBack(ownBytes);
    if (choice === 'portable') return this.#portable.mount(image, request);
    if (choice === 'auto' && this.#composer.isUnavailable) {
      return this.#portable.mount(image, request);
    }
    try {
      const composed = await this.#composer.roots();
      const { manifest } = image;
      const files = () => this.#lists.get(manifest);
      return await composed.mount(this.#composer.composed(manifest, files), request);
    } catch (error) {
      if (choice === 'composed' || !isThinError(error, 'unavailable', 'denied')) throw error;
      const reason = describeError(error);
      this.#log.info({ target: request.target, reason }, 'portable mount');
      return this.#portable.mount(image, request);
    }
  }

  /**
   * Finds the roots again that outlived an earlier daemon.
   * @returns in the same order; undefined for those that are gone or lost
   */
  async adopt(kept: readonly KeptRoot[]): Promise<(Root | undefined)[]> {
    const images = await this.#listsOf(kept.filter(({ root }) => root.form === 'composed'));
    if (images.size === 0 && !(await this.#composer.isLeft())) return kept.map(() => undefined);
    const composed = await this.#takeOver([...images.values()]);
    if (!composed) return kept.map(() => undefined);
    const roots: (Root | undefined)[] = [];
    for (const { manifest, root } of kept) {
      const image = root.form === 'composed' ? images.get(manifest) : undefined;
      roots.push(image && (await this.#adoptOne(composed, image, root)));
    }
    await this.#composer.tookOver([...images.values()]);
    return roots;
  }

  async #takeOver(images: readonly SharedFileList[]): Promise<ComposedRoots | undefined> {
    try {
      return await this.#composer.takeOver(images);
    } catch (error) {
      this.#log.error({ reason: describeError(error) }, 'mounts of the last daemon are lost');
      return undefined;
    }
  }

  /** What another start cannot do better is lost; for the rest this one fails, and F goes on. */
  async #adoptOne(
    composed: ComposedRoots,
    files: SharedFileList,
    root: RootRecord,
  ): Promise<Root | undefined> {
    try {
      const image = this.#composer.composed(files.image, async () => files);
      return await composed.adopt(image, root);
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'invalid', 'not-found')) throw error;
      this.#log.error({ target: root.target, reason: describeError(error) }, 'a mount is lost');
      return undefined;
    }
  }

  async #listsOf(kept: readonly KeptRoot[]): Promise<Map<string, SharedFileList>> {
    const images = new Map<string, SharedFileList>();
    for (const { manifest } of kept) {
      if (images.has(manifest)) continue;
      try {
        images.set(manifest, await this.#lists.get(parseDigest(manifest)));
      } catch (error) {
        this.#log.error({ manifest, reason: describeError(error) }, 'a mounted image is damaged');
      }
    }
    return images;
  }

  /** Files of the image are in a tier now: the kernel looks for them again. */
  async refresh(manifest: Digest): Promise<void> {
    if (this.#composer.objects === undefined) return;
    await (await this.#composer.roots()).refresh(manifest);
  }

  /** Of every image; what does not work is logged. */
  async refreshAll(): Promise<void> {
    this.#portable.refresh();
    this.#composer.closeFiles();
    if (this.#composer.objects === undefined) return;
    const roots = await this.#composer.roots();
    for (const manifest of roots.mounted) {
      await roots.refresh(manifest).catch((error: unknown) => {
        this.#log.error({ manifest, reason: describeError(error) }, 'cannot refresh its mounts');
      });
    }
  }
}
