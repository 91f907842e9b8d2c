import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { SharedFileList } from './file-list.js';
import { imageNumber } from './object-namespace.js';
import type { ObjectWorkerUpdate } from './object-worker-messages.js';

/** Bytes of lists of images that are in use no more, kept for what the kernel may still ask. */
const unusedBytesMax = 4 * 2 ** 20;

interface UsedImage {
  uses: number;
  readonly list: SharedFileList;
}

/**
 * The files of all images that F shows: digests and sizes, 40 bytes a file and no object, never from
 * the network.
 *
 * An image that is removed stays known for a while: a container may have been detached and not ended,
 * and what the kernel once heard to exist it must not hear to be gone (it would fail with ESTALE from
 * then on). How long depends on how many images follow.
 */
export class ObjectImages {
  readonly #used = new Map<Digest, UsedImage>();
  /** By number, as the threads have them. */
  readonly #shown = new Map<number, SharedFileList>();
  /** Of these, the unused, the one that was removed first in front. */
  readonly #unused = new Set<SharedFileList>();
  #publish: (update: ObjectWorkerUpdate) => void = () => {};

  /** All that is shown. */
  get lists(): readonly SharedFileList[] {
    return [...this.#shown.values()];
  }

  /** Has threads told of every change from now on. */
  publishTo(publish: (update: ObjectWorkerUpdate) => void): void {
    this.#publish = publish;
  }

  /**
   * Shows an image's files, or counts one more use of an image that is shown already.
   * @param list its files; not looked at if the image is shown
   * @returns name of the directory with its files; the same for the same files always
   * @throws ThinError `busy` if another image has the same number (one in 67 million)
   */
  add(list: SharedFileList): string {
    const used = this.#used.get(list.image) ?? { uses: 0, list: this.#show(list) };
    this.#used.set(list.image, used);
    used.uses += 1;
    return used.list.name;
  }

  /** Takes back one {@link add}. Only when no overlay has the image's directory as a layer any more. */
  remove(image: Digest): void {
    const used = this.#used.get(image);
    if (!used) return;
    used.uses -= 1;
    if (used.uses > 0) return;
    this.#used.delete(image);
    this.#unused.add(used.list);
    this.#forgetUnused();
  }

  #show(list: SharedFileList): SharedFileList {
    const number = imageNumber(list.name);
    const shown = this.#shown.get(number);
    if (shown?.name === list.name) {
      this.#unused.delete(shown);
      return shown;
    }
    if (shown && !this.#unused.has(shown)) throw sameNumber(list.image, shown.image);
    if (shown) this.#hide(shown);
    this.#shown.set(number, list);
    this.#publish({ type: 'image', list });
    return list;
  }

  #forgetUnused(): void {
    let bytes = 0;
    for (const { entries } of this.#unused) bytes += entries.byteLength;
    for (const list of this.#unused) {
      if (bytes <= unusedBytesMax) return;
      bytes -= list.entries.byteLength;
      this.#hide(list);
    }
  }

  #hide(list: SharedFileList): void {
    this.#unused.delete(list);
    this.#shown.delete(imageNumber(list.name));
    this.#publish({ type: 'image-ended', name: list.name });
  }
}

function sameNumber(image: Digest, other: Digest): ThinError {
  return new ThinError(
    'busy',
    `Cannot show the files of ${image}: its number is that of ${other} (wanted one of its own)`,
  );
}
