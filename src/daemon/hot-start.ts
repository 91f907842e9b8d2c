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
import { StartTime } from '../hot/start-time.js';
import { guessHotRanges, type HotRange } from '../hot/static-guess.js';
import type { Clock } from '../store/clock.js';
import { commandFor } from '../thin/hot-index.js';
import type { HotOverlay } from '../thin/hot-overlay.js';
import type { LiveImage } from './live-image.js';
import { readyWatchMs } from './ready-watch.js';
import type { SharedStarts } from './shared-starts.js';

/** When a program counts as started that does not say so. */
const timeLimits = { ownMs: 30_000, mostMs: readyWatchMs };
/** Of the image, read to find out who the process is to be. */
const accountFiles = ['/etc/passwd', '/etc/group'];

export interface HotStartOptions {
  /** Of the container, for the log. */
  readonly id: string;
  readonly image: LiveImage;
  readonly start: CommandStart;
  readonly mode: PrefetchMode;
  readonly folder: HotFolder;
  /** What other nodes of the site have seen. */
  readonly shared: SharedStarts | undefined;
  /** Resolves when the program has started, where something tells. Never fails. */
  readonly untilReady: () => Promise<void>;
  /** Told when all that is expected to be read is here, or has failed. */
  readonly onBrought: (totals: PrefetchTotals) => void;
  readonly log: Logger;
  readonly clock: Clock;
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
  readonly #time: StartTime;
  readonly #ended = new AbortController();
  /** What the site knows of it is being kept. */
  #importing: Promise<void> = Promise.resolve();
  /** Aborted when the program has started, or ended. */
  readonly #started = new AbortController();

  constructor(options: HotStartOptions) {
    this.#options = options;
    this.#time = new StartTime(timeLimits, options.clock);
    this.done = this.#run();
  }

  get image(): LiveImage {
    return this.#options.image;
  }

  /** A read of the image that had to be waited for; it may be of another container. */
  missed(file: FileRef, offset: number, length: number, bytes: Promise<unknown>): void {
    this.#time.waitsFor(bytes);
    this.#recording.miss(file, offset, length);
  }

  /** The container has ended: nothing more is brought. */
  end(): void {
    this.#ended.abort();
    this.#started.abort();
  }

  /** It has started: what it reads from now on is not learned. */
  ready(): void {
    this.#started.abort();
  }

  async #run(): Promise<boolean> {
    const { id, mode, image, log } = this.#options;
    const { signal } = this.#ended;
    const prefetch = mode === 'none' ? undefined : image.prefetch(signal);
    const started = this.#untilStarted();
    // Before anything is known: what is read meanwhile may be the first of it.
    const learned = this.#learn();
    try {
      const known = await this.#known();
      if (known) await learned();
      const totals = prefetch ? await this.#bring(prefetch, known) : nothing;
      log.debug({ id, ...totals }, 'brought ahead of a container');
      this.#options.onBrought(totals);
      await started;
      log.debug({ id, milliseconds: this.#recording.milliseconds }, 'a container is ready');
      await this.#keep(totals);
      return totals.frames === 0 && totals.failures === 0 && this.#recording.missed === 0;
    } catch (error) {
      log.warn({ id, reason: describeError(error) }, 'nothing is learned from this start');
      return false;
    } finally {
      await learned();
      await this.#importing;
    }
  }

  /** What earlier starts read, here or elsewhere; undefined if nobody knows. */
  async #known(): Promise<Iterable<HotRange> | undefined> {
    const hotPack = await this.#hotPack();
    const list = await this.#options.folder.find(this.#key);
    if (list) return hotRanges(list);
    return hotPack ? hotPack.places() : await this.#knownInSite();
  }

  /** Kept as if it had been recorded here. */
  async #knownInSite(): Promise<HotRange[] | undefined> {
    const { id, folder, shared, log } = this.#options;
    const list = await shared?.find(this.#key, this.#ended.signal);
    if (!list) return undefined;
    this.#importing = folder.import([list]).catch((error: unknown) => {
      log.debug({ id, reason: describeError(error) }, 'what the site knows of a start is not kept');
    });
    return hotRanges(list);
  }

  /** Every read is to be seen; before the first one, what is read to make the container. */
  #learn(): () => Promise<void> {
    const { image } = this.#options;
    for (const path of accountFiles) {
      const file = image.findFile(path);
      if (file) this.#recording.brought(file, 0, file.size);
    }
    return image.learn((file) => this.#recording.brought(file, 0, file.size));
  }

  async #untilStarted(): Promise<void> {
    const { signal } = this.#started;
    const late = this.#time.over(signal).catch(() => {});
    await Promise.race([late, this.#options.untilReady()]);
    this.#recording.close();
    this.#started.abort();
  }

  async #bring(
    prefetch: RangePrefetch,
    known: Iterable<HotRange> | undefined,
  ): Promise<PrefetchTotals> {
    const { id, log } = this.#options;
    try {
      // Most of it will be here before it can be seen being read: it counts as read.
      for (const range of known ?? []) {
        this.#recording.brought(range, range.offset, range.length);
        prefetch.add(range);
      }
      if (!known) await this.#guess((range) => prefetch.add(range));
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
    const command = published && commandFor(published.commands, start.args);
    return command && image.useHotPack(command);
  }

  async #guess(add: (range: HotRange) => void): Promise<void> {
    const { image, start } = this.#options;
    const files = new ImageFiles(image.tree, ({ content, size }, offset, length) => {
      // Nobody sees it being read after that.
      this.#recording.brought({ content, size }, offset, length);
      return image.readAhead({ content, size }, offset, length, this.#ended.signal);
    });
    await guessHotRanges(files, start, add);
  }

  /** A start that waited for nothing teaches nothing. */
  async #keep({ frames }: PrefetchTotals): Promise<void> {
    const { folder, shared } = this.#options;
    const isNew = frames > 0 && !(await folder.find(this.#key));
    if (this.#recording.missed === 0 && !isNew) return;
    const run = this.#recording.run();
    await folder.add(this.#key, run);
    await shared?.tell({ ...this.#key, runs: [run] });
  }

  get #key() {
    const { image, start } = this.#options;
    return { image: image.manifest, platform: image.record.platform, args: start.args };
  }
}

const nothing: PrefetchTotals = {
  ...{ frames: 0, bytes: 0, plainBytes: 0, requests: 0 },
  ...{ copiedBytes: 0, hereBytes: 0, failures: 0 },
};
