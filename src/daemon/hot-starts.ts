import type { Logger } from 'pino';
import type { PrefetchMode } from '../config.js';
import { describeError, isThinError } from '../errors.js';
import type { CommandStart } from '../hot/command-files.js';
import { ImageFiles } from '../hot/image-files.js';
import { guessHotRanges } from '../hot/static-guess.js';
import { commandLine } from '../mount/container-process.js';
import type { CheckedRequest } from './control-api.js';
import type { LiveImage } from './live-image.js';

/** Of one image: starts whose files were all here, and whose next ones need no look. */
const warmStartsMax = 64;

export type StartRequest = Pick<
  CheckedRequest<'container.create'>,
  'command' | 'entrypoint' | 'env' | 'workdir'
>;

/**
 * Brings what containers will read first, ahead of their programs, and behind whatever a program
 * waits for already. Nothing waits for it, and what it cannot bring is fetched when it is read.
 */
export class HotStarts implements AsyncDisposable {
  readonly #mode: PrefetchMode;
  readonly #log: Logger;
  /** By container. */
  readonly #running = new Map<string, AbortController>();
  readonly #work = new Set<Promise<void>>();
  /** Forgotten with the image, which is when nobody has asked for it for a while. */
  readonly #warm = new WeakMap<LiveImage, Set<string>>();

  constructor(mode: PrefetchMode, log: Logger) {
    this.#mode = mode;
    this.#log = log;
  }

  /** Returns at once; goes on until all is here, or {@link end}. */
  begin(id: string, image: LiveImage, request: StartRequest): void {
    if (this.#mode === 'none' || this.#running.has(id)) return;
    const start = commandStart(image, request);
    const warm = this.#warm.get(image) ?? new Set();
    this.#warm.set(image, warm);
    const key = JSON.stringify(start);
    if (!start || warm.has(key)) return;
    const controller = new AbortController();
    this.#running.set(id, controller);
    const work = this.#bring(id, image, start, controller.signal)
      .then((isWarm) => {
        if (isWarm && warm.size < warmStartsMax) warm.add(key);
      })
      .finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  /** The container has ended, or was never made. */
  end(id: string): void {
    this.#running.get(id)?.abort();
    this.#running.delete(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of this.#running.keys()) this.end(id);
    await Promise.all(this.#work);
  }

  /** @returns whether nothing had to be fetched. Never fails */
  async #bring(
    id: string,
    image: LiveImage,
    start: CommandStart,
    signal: AbortSignal,
  ): Promise<boolean> {
    const prefetch = image.prefetch(signal);
    if (!prefetch) return true;
    const startedAt = performance.now();
    const files = new ImageFiles(image.tree, ({ content, size }, offset, length) =>
      image.readFile(content, size, offset, length, signal),
    );
    let isWhole = true;
    try {
      await guessHotRanges(files, start, (range) => prefetch.add(range));
    } catch (error) {
      isWhole = false;
      if (!isThinError(error)) throw error;
      this.#log.debug({ id, reason: describeError(error) }, 'what it will read cannot be guessed');
    }
    const totals = await prefetch.settled();
    const milliseconds = Math.round(performance.now() - startedAt);
    this.#log.debug({ id, ...totals, milliseconds }, 'brought ahead of a container');
    return isWhole && totals.frames === 0 && totals.failures === 0 && !signal.aborted;
  }
}

/** Undefined where there is no command, which whoever makes the container is told. */
function commandStart({ config }: LiveImage, request: StartRequest): CommandStart | undefined {
  const image = config.config ?? {};
  try {
    return {
      args: commandLine(image, request),
      env: [...(image.Env ?? []), ...request.env],
      workdir: request.workdir || image.WorkingDir || '/',
    };
  } catch (error) {
    if (isThinError(error, 'invalid')) return undefined;
    throw error;
  }
}
