import { unpackFiles } from '../cache/packed-files.js';
import type { Digest } from '../digest.js';

/** Files that are stored by pulls, for those who wait for single ones of them. */
export class FileArrivals {
  readonly #waiting = new Map<Digest, Set<() => void>>();

  /** These files are in a tier now, as packed-files.ts has them. */
  stored(files: Buffer): void {
    if (this.#waiting.size === 0) return;
    for (const { content } of unpackFiles(files)) {
      for (const wake of this.#waiting.get(content) ?? []) wake();
    }
  }

  /**
   * Ends when the file is here.
   * @param isHere looked at once: it may have come before
   * @throws the signal's reason
   */
  async wait(content: Digest, isHere: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const waiting = this.#waiting.get(content) ?? new Set();
    this.#waiting.set(content, waiting);
    let wake = (): void => undefined;
    let giveUp = (): void => undefined;
    const stored = new Promise<void>((resolve, reject) => {
      wake = resolve;
      giveUp = () => reject(signal.reason);
    });
    stored.catch(() => undefined); // is thrown where it is awaited, if it is
    waiting.add(wake);
    signal.addEventListener('abort', giveUp);
    try {
      if (!(await isHere())) await stored;
    } finally {
      signal.removeEventListener('abort', giveUp);
      waiting.delete(wake);
      if (waiting.size === 0) this.#waiting.delete(content);
    }
  }
}
