import { createHash } from 'node:crypto';
import type { Digest } from '../digest.js';
import { fromSystemError, isThinError } from '../errors.js';
import type { CacheLedger } from './cache-ledger.js';
import { openToRead } from './disk.js';
import type { Tier } from './tier.js';
import type { TierFiles } from './tier-files.js';

/** Bytes copied at a time: 1 ms of hashing. */
const stepBytes = 1024 * 1024;
/** Files, and bytes of them, that are in two places until a sync has made the new ones durable. */
const batchFiles = 256;
const batchBytes = 256 * 1024 * 1024;

interface Copied {
  readonly content: Digest;
  readonly size: number;
  readonly from: Tier;
}

/** Moves complete files between tiers. Readers find each of them at every moment. */
export class FileMover {
  readonly #files: TierFiles;
  readonly #ledger: CacheLedger;

  constructor(files: TierFiles, ledger: CacheLedger) {
    this.#files = files;
    this.#ledger = ledger;
  }

  /**
   * Moves the files that are here, and not in the tier yet, as far as it has room.
   * @returns how many were moved
   * @throws ThinError `invalid` if there is no such tier; `canceled`; `no-space` and `unavailable` if
   *   the tier takes no more: files that were moved before stay where they are
   */
  async move(contents: Iterable<Digest>, tier: string, signal: AbortSignal): Promise<number> {
    const to = this.#files.tier(tier);
    using hold = this.#ledger.hold();
    let moved = 0;
    let bytes = 0;
    let copied: Copied[] = [];
    const finish = async (): Promise<void> => {
      moved += await this.#leave(copied);
      bytes = 0;
      copied = [];
    };
    try {
      for (const content of contents) {
        signal.throwIfAborted();
        hold.add(content);
        const from = await this.#files.find(content);
        if (from === undefined || from === to) continue;
        const size = await this.#copy(content, from, to).catch((error: unknown) =>
          this.#passOver(error),
        );
        if (size === undefined) continue;
        copied.push({ content, size, from });
        bytes += size;
        if (copied.length >= batchFiles || bytes >= batchBytes) await finish();
      }
    } catch (error) {
      throw fromSystemError(`Cannot move files to tier ${tier}`, error);
    } finally {
      await finish();
    }
    return moved;
  }

  /** One file that cannot be read keeps no other from being moved; a tier that takes no more does. */
  #passOver(error: unknown): undefined {
    if (isThinError(error) || fromSystemError('', error).code === 'no-space') throw error;
    this.#ledger.failed(error);
  }

  /** Bytes copied; undefined if the file was not what its name says, and is removed. */
  async #copy(content: Digest, from: Tier, to: Tier): Promise<number | undefined> {
    const source = await from.disk.open(from.path(content), openToRead);
    const space = this.#ledger.space(to.name);
    let reserved = 0;
    let allocated = 0;
    try {
      const { size } = await from.disk.stat(source);
      await space.reserve(size);
      reserved = size;
      const good = await this.#files.create(to, content, async (target) => {
        const same = (await copyHashed(from, source, to, target, size)) === content;
        ({ allocated } = await to.disk.stat(target));
        return same;
      });
      if (good) this.#ledger.moved({ content, size }, { tier: to.name, allocated });
      else await this.#ledger.wrong(content);
      return good ? size : undefined;
    } finally {
      space.written(reserved);
      await from.disk.close(source);
    }
  }

  /** The old files go when the new ones would outlive a power cut. */
  async #leave(copied: readonly Copied[]): Promise<number> {
    if (copied.length === 0 || !(await this.#ledger.sync())) return 0;
    for (const { content, from } of copied) await this.#files.remove(content, [from]);
    return copied.length;
  }
}

async function copyHashed(from: Tier, source: number, to: Tier, target: number, size: number) {
  const hash = createHash('sha256');
  const step = Buffer.allocUnsafe(Math.min(stepBytes, Math.max(size, 1)));
  for (let at = 0; at < size; at += step.length) {
    const piece = step.subarray(0, Math.min(step.length, size - at));
    if ((await from.disk.read(source, piece, at)) < piece.length) return undefined;
    hash.update(piece);
    await to.disk.write(target, piece, at);
  }
  return `sha256:${hash.digest('hex')}`;
}
