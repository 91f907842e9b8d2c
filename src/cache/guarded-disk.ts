import { performance } from 'node:perf_hooks';
import { ThinError } from '../errors.js';
import { type Disk, errnoName } from './disk.js';

/** Longest that a read or write waits for the disk; then the bytes come from the origin. */
const operationMsMax = 3000;
/** Longest that a sync of the whole file system takes. */
const syncMsMax = 60_000;
/**
 * How often operations are looked at for that. Looks are counted, and no time: what this process stood
 * still for is not the disk's fault, and what has come meanwhile is taken before the next look.
 */
const watchMs = 250;
/** Broken operations in a row until the disk is left alone. One that hangs is enough. */
const failuresMax = 3;
/** How long a broken disk is left alone before one more operation tries it. */
const restMs = 5000;
/** Threads of Node's pool left for name look-ups and decoding while the disk hangs. */
const threadsSpared = 2;

/** The errors of a broken device, not of a full one or of a missing file. */
const brokenErrnos = new Set([
  'EIO',
  'EROFS',
  'ENXIO',
  'ENODEV',
  'ESTALE',
  'EREMOTEIO',
  'EUCLEAN',
  'EBADMSG',
]);

interface Operation {
  looks: number;
  readonly fail: (error: Error) => void;
  overdue: boolean;
}

interface Queued {
  readonly begin: () => void;
  readonly fail: (error: Error) => void;
}

/**
 * A disk that answers in time: an operation that takes too long fails with `unavailable` although it
 * goes on, and a disk that hangs or errs is left alone for a while, when every operation fails at
 * once. What uses it treats such a failure as "not cached".
 */
export class GuardedDisk implements Disk {
  readonly #disk: Disk;
  readonly #onState: (down: boolean, why: string) => void;
  readonly #limit: number;
  readonly #running = new Set<Operation>();
  readonly #queue: Queued[] = [];
  #watch: NodeJS.Timeout | undefined;
  #hanging = 0;
  #failures = 0;
  #downUntil = 0;

  constructor(disk: Disk, onState: (down: boolean, why: string) => void) {
    this.#disk = disk;
    this.#onState = onState;
    const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
    this.#limit = Math.max(2, threads - threadsSpared);
  }

  /** True while the disk is left alone: for a while after errors, and until what hangs comes back. */
  get down(): boolean {
    return this.#hanging > 0 || performance.now() < this.#downUntil;
  }

  open(path: string, flags: number): Promise<number> {
    // A descriptor that comes too late belongs to nobody.
    return this.#run(
      () => this.#disk.open(path, flags),
      (fd) => void this.#disk.close(fd).catch(() => undefined),
    );
  }
  close(fd: number): Promise<void> {
    return this.#disk.close(fd);
  }
  read(fd: number, into: Buffer, position: number): Promise<number> {
    return this.#run(() => this.#disk.read(fd, into, position));
  }
  write(fd: number, bytes: Buffer, position: number): Promise<void> {
    return this.#run(() => this.#disk.write(fd, bytes, position));
  }
  truncate(fd: number, size: number): Promise<void> {
    return this.#run(() => this.#disk.truncate(fd, size));
  }
  stat(fd: number): ReturnType<Disk['stat']> {
    return this.#run(() => this.#disk.stat(fd));
  }
  exists(path: string): Promise<boolean> {
    return this.#run(() => this.#disk.exists(path));
  }
  rename(from: string, to: string): Promise<void> {
    return this.#run(() => this.#disk.rename(from, to));
  }
  unlink(path: string): Promise<void> {
    return this.#run(() => this.#disk.unlink(path));
  }
  space(path: string): ReturnType<Disk['space']> {
    return this.#run(() => this.#disk.space(path));
  }
  openPlace(...[place]: Parameters<Disk['openPlace']>): void {
    this.#disk.openPlace(place);
  }
  missing(...[place, contents]: Parameters<Disk['missing']>): ReturnType<Disk['missing']> {
    return this.#run(() => this.#disk.missing(place, contents));
  }
  storeAll(...[place, bytes, files]: Parameters<Disk['storeAll']>): ReturnType<Disk['storeAll']> {
    return this.#run(() => this.#disk.storeAll(place, bytes, files));
  }
  /** May rightly take long; no read waits for it, but the end of the process does. */
  async sync(path: string): Promise<void> {
    if (this.down) throw unavailable('it failed a moment ago');
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(unavailable(`no sync in ${syncMsMax} ms`)), syncMsMax);
    });
    try {
      await Promise.race([this.#disk.sync(path), tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }

  #run<T>(start: () => Promise<T>, late?: (value: T) => void): Promise<T> {
    if (this.down) return Promise.reject(unavailable('it failed a moment ago'));
    return new Promise((resolve, reject) => {
      const begin = () => {
        const operation: Operation = { looks: 0, fail: reject, overdue: false };
        this.#running.add(operation);
        start().then(
          (value) => {
            this.#ended(operation, undefined);
            if (operation.overdue) late?.(value);
            else resolve(value);
          },
          (error: unknown) => {
            this.#ended(operation, error);
            reject(error);
          },
        );
      };
      this.#watch ??= setInterval(() => this.#look(), watchMs);
      if (this.#running.size < this.#limit) begin();
      else this.#queue.push({ begin, fail: reject });
    });
  }

  #ended(operation: Operation, error: unknown): void {
    this.#running.delete(operation);
    if (operation.overdue) this.#hanging--;
    this.#queue.shift()?.begin();
    if (this.#running.size === 0) {
      clearInterval(this.#watch);
      this.#watch = undefined;
    }
    if (brokenErrnos.has(errnoName(error))) {
      this.#failures++;
      if (this.#failures >= failuresMax) this.#rest(String(error));
    } else if (this.#failures > 0 && !operation.overdue) {
      if (this.#failures >= failuresMax) this.#onState(false, 'it works again');
      this.#failures = 0;
    }
  }

  #look(): void {
    for (const operation of this.#running) {
      operation.looks += 1;
      if (operation.looks <= operationMsMax / watchMs || operation.overdue) continue;
      if (!this.down) this.#onState(true, 'an operation hangs');
      const error = unavailable(`no answer in ${operationMsMax} ms`);
      operation.overdue = true;
      this.#hanging++;
      operation.fail(error);
      for (const queued of this.#queue.splice(0)) queued.fail(error);
      this.#failures = failuresMax;
    }
  }

  #rest(why: string): void {
    if (!this.down) this.#onState(true, why);
    this.#downUntil = performance.now() + restMs;
  }
}

function unavailable(why: string): ThinError {
  return new ThinError('unavailable', `Cannot use cache disk: ${why}`);
}
