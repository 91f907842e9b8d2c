import { MultiBar, type SingleBar } from 'cli-progress';
import { formatSize } from '../units.js';

/** Where a command tells how far it is. */
export interface Progress {
  /** One short sentence. */
  note(message: string): void;
  /** Bytes done of a job; `total` 0 while unknown. A job that was never named before begins. */
  update(job: string, done: number, total: number): void;
  /** Ends all output; nothing may follow. */
  close(): void;
}

export type ProgressStyle = 'bars' | 'lines' | 'json' | 'quiet';

/** Bars on a terminal, lines when not; `--json` and `--quiet` decide first. */
export function progressStyle(options: { json?: boolean; quiet?: boolean }): ProgressStyle {
  if (options.json) return 'json';
  if (options.quiet) return 'quiet';
  return process.stderr.isTTY ? 'bars' : 'lines';
}

/** Everything goes to stderr, but JSON events, which are the output, to stdout. */
export function openProgress(style: ProgressStyle): Progress {
  if (style === 'json') return new JsonProgress();
  if (style === 'bars') return new BarProgress();
  return style === 'quiet' ? new QuietProgress() : new LineProgress();
}

class QuietProgress implements Progress {
  note(): void {}
  update(): void {}
  close(): void {}
}

/** Milliseconds between two events of one job. */
const jsonIntervalMs = 200;

class JsonProgress implements Progress {
  readonly #last = new Map<string, number>();

  note(message: string): void {
    process.stdout.write(`${JSON.stringify({ event: 'note', message })}\n`);
  }

  update(job: string, done: number, total: number): void {
    const finished = total > 0 && done >= total;
    if (!finished && Date.now() - (this.#last.get(job) ?? 0) < jsonIntervalMs) return;
    this.#last.set(job, Date.now());
    process.stdout.write(`${JSON.stringify({ event: 'progress', job, done, total })}\n`);
  }

  close(): void {}
}

/** Milliseconds between two lines of one job: logs of build servers are read by people. */
const lineIntervalMs = 2000;

class LineProgress implements Progress {
  readonly #last = new Map<string, number>();
  readonly #finished = new Set<string>();

  note(message: string): void {
    process.stderr.write(`${message}\n`);
  }

  update(job: string, done: number, total: number): void {
    if (this.#finished.has(job)) return;
    const finished = total > 0 && done >= total;
    if (finished) {
      this.#finished.add(job);
      process.stderr.write(`${job}: ${formatSize(done)}\n`);
      return;
    }
    const last = this.#last.get(job);
    this.#last.set(job, last ?? Date.now());
    if (last === undefined || Date.now() - last < lineIntervalMs) return;
    this.#last.set(job, Date.now());
    const percent = total > 0 ? ` (${Math.floor((100 * done) / total)} %)` : '';
    process.stderr.write(`${job}: ${formatSize(done)}${percent}\n`);
  }

  close(): void {}
}

class BarProgress implements Progress {
  readonly #bars = new Map<string, SingleBar>();
  readonly #multi = new MultiBar({
    format: '{job} {bar} {percentage}% {size}',
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: false,
    stopOnComplete: false,
    barsize: 30,
    fps: 10,
  });

  note(message: string): void {
    if (this.#bars.size > 0) this.#multi.log(`${message}\n`);
    else process.stderr.write(`${message}\n`);
  }

  update(job: string, done: number, total: number): void {
    const size = total > 0 ? `${formatSize(done)} of ${formatSize(total)}` : formatSize(done);
    let bar = this.#bars.get(job);
    if (!bar) {
      bar = this.#multi.create(Math.max(total, done, 1), 0, { job: job.padEnd(16), size });
      this.#bars.set(job, bar);
    }
    if (total > 0) bar.setTotal(total);
    bar.update(done, { job: job.padEnd(16), size });
  }

  close(): void {
    this.#multi.stop();
  }
}
