import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { FileRef } from '../cache/file-origin.js';
import type { PrefetchTotals, RangePrefetch } from '../cache/range-prefetch.js';
import type { PrefetchMode } from '../config.js';
import { describeError, isThinError } from '../errors.js';
import type { CommandStart } from '../hot/command-files.js';
import type { HotFolder } from '../hot/hot-folder.js';
import { hotRanges } from '../hot/hot-list.js';
import { HotRecording } from '../hot/hot-recording.js';
import { ImageFiles } from '../hot/image-files.js';
import { guessHotRanges, type HotRange } from '../hot/static-guess.js';
import { commandFor } from '../thin/hot-index.js';
import type { HotOverlay } from '../thin/hot-overlay.js';
import type { LiveImage } from './live-image.js';

/** Milliseconds after which a program counts as started. */
const startMs = 30_000;

export interface HotStartOptions {
  /** Of the container, for the log. */
  readonly id: string;
  readonly image: LiveImage;
  readonly start: CommandStart;
  readonly mode: PrefetchMode;
  readonly folder: HotFolder;
  readonly log: Logger;
}

/**
 * One start of a container. What it will read first is brought ahead of it: what earlier ones read,
 * else what can be guessed. What it has to wait for nevertheless is recorded for the next one.
 */
export class HotStart {
  /** Ends when the program has started or ended. True: nothing of it had to be fetched. Never fails. */
  readonly done: Promise<boolean>;
  readonly #options: HotStartOptions;
  readonly #recording = new HotRecording();
  readonly #ended = new AbortController();

  constructor(options: HotStartOptions) {
    this.#options = options;
    this.done = this.#run();
  }

  get image(): LiveImage {
    return this.#options.image;
  }

  /** A read of the image that had to be waited for; it may be of another container. */
  missed(file: FileRef, offset: number, length: number): void {
    this.#recording.miss(file, offset, length);
  }

  /** The container has ended: nothing more is brought. */
  end(): void {
    this.#ended.abort();
  }

  async #run(): Promise<boolean> {
    const { id, mode, image, log } = this.#options;
    const { signal } = this.#ended;
    const prefetch = mode === 'none' ? undefined : image.prefetch(signal);
    const started = delay(startMs, undefined, { signal, ref: false }).catch(() => {});
    try {
      const totals = prefetch ? await this.#bring(prefetch) : nothing;
      log.debug({ id, ...totals }, 'brought ahead of a container');
      await started;
      await this.#keep(totals);
      return totals.frames === 0 && totals.failures === 0 && this.#recording.missed === 0;
    } catch (error) {
      log.warn({ id, reason: describeError(error) }, 'nothing is learned from this start');
      return false;
    }
  }

  async #bring(prefetch: RangePrefetch): Promise<PrefetchTotals> {
    const { id, folder, log } = this.#options;
    const add = (range: HotRange): void => {
      this.#recording.brought(range, range.offset, range.length);
      prefetch.add(range);
    };
    try {
      const hotPack = await this.#hotPack();
      const list = await folder.find(this.#key);
      if (list) for (const range of hotRanges(list)) add(range);
      else if (hotPack) for (const range of hotPack.places()) add(range);
      else await this.#guess(add);
    } catch (error) {
      if (!isThinError(error)) throw error;
      log.debug({ id, reason: describeError(error) }, 'what it will read is not known');
    }
    return prefetch.settled();
  }

  /** What was published of the command: its chunks come from there, whoever says that they are wanted. */
  async #hotPack(): Promise<HotOverlay | undefined> {
    const { folder, image, start } = this.#options;
    const published = await folder.published(image.manifest);
    const command = published && commandFor(published, start.args);
    return command && image.useHotPack(command);
  }

  async #guess(add: (range: HotRange) => void): Promise<void> {
    const { image, start } = this.#options;
    const files = new ImageFiles(image.tree, ({ content, size }, offset, length) =>
      image.readFile(content, size, offset, length, this.#ended.signal),
    );
    await guessHotRanges(files, start, add);
  }

  /** A start that waited for nothing teaches nothing. */
  async #keep({ frames }: PrefetchTotals): Promise<void> {
    const { folder } = this.#options;
    const isNew = frames > 0 && !(await folder.find(this.#key));
    if (this.#recording.missed > 0 || isNew) await folder.add(this.#key, this.#recording.run());
  }

  get #key() {
    const { image, start } = this.#options;
    return { image: image.manifest, platform: image.record.platform, args: start.args };
  }
}

const nothing: PrefetchTotals = {
  ...{ frames: 0, bytes: 0, requests: 0, copiedBytes: 0, hereBytes: 0, failures: 0 },
};
