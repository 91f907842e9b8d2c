import { readFileSync, writevSync } from 'node:fs';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { isUnwanted } from './device.js';
import { errnoOf } from './errno.js';
import { replyHeaderBytes } from './protocol.js';
import { writeReplyHeader } from './reply.js';
import type { ForwardedRead } from './serve.js';

/**
 * Fetches bytes of a file that is not complete on this machine.
 * @returns exactly `length` bytes, verified
 * @throws ThinError
 */
export type ReadFile = (
  content: Digest,
  size: number,
  offset: number,
  length: number,
  signal: AbortSignal,
) => Promise<Buffer>;

/** Fetches what a read wants; see {@link ReadFile}. */
export type AnswerRead = (read: ForwardedRead, signal: AbortSignal) => Promise<Buffer>;

export function answerBy(readFile: ReadFile): AnswerRead {
  return ({ content, size, offset, length }, signal) =>
    readFile(content, size, offset, length, signal);
}

/** Told of every read that a program sees fail. */
export type OnReadError = (error: unknown, content: Digest) => void;

/** Calls of {@link AnswerRead} under way at once; one holds at most 1 MiB, when it is answered. */
const readsInFlightMax = 1024;
/** Between looks at whether the programs that wait for interrupted reads were killed. */
const killedPollMs = 250;

/** Set in the `unique` of a request that the kernel sends again, and of what interrupts it. */
const resentBit = 1n << 63n;

interface PendingRead {
  /** The newest request for it: only that one's `unique` is answered. */
  read: ForwardedRead;
  readonly controller: AbortController;
}

/**
 * Answers the reads that the worker threads hand on. Reads beyond {@link readsInFlightMax} wait in
 * a queue, which the kernel bounds: one for each waiting thread, and its own background limit.
 */
export class ReadForwarder {
  readonly #device: number;
  readonly #answerRead: AnswerRead;
  readonly #onError: OnReadError;
  /** By `unique` without {@link resentBit}. */
  readonly #pending = new Map<bigint, PendingRead>();
  readonly #interrupted = new Set<PendingRead>();
  /** Of these, those that wait for others to end. */
  readonly #queue = new Set<PendingRead>();
  readonly #running = new Set<Promise<void>>();
  #poll: NodeJS.Timeout | undefined;
  #phase: 'open' | 'closed' | 'abandoned' = 'open';

  constructor(device: number, answerRead: AnswerRead, onError: OnReadError) {
    this.#device = device;
    this.#answerRead = answerRead;
    this.#onError = onError;
  }

  forward(read: ForwardedRead): void {
    if (this.#phase !== 'open') return;
    const key = read.unique & ~resentBit;
    const known = this.#pending.get(key);
    if (known) {
      known.read = read;
      return;
    }
    const pending = { read, controller: new AbortController() };
    this.#pending.set(key, pending);
    if (this.#running.size < readsInFlightMax) this.#start(pending);
    else this.#queue.add(pending);
  }

  #start(pending: PendingRead): void {
    const running = this.#answer(pending).finally(() => {
      this.#running.delete(running);
      const [next] = this.#queue;
      if (!next || this.#running.size >= readsInFlightMax) return;
      this.#queue.delete(next);
      this.#start(next);
    });
    this.#running.add(running);
  }

  /** Also one that was not begun is answered now: who waits for it cannot end before. */
  #giveUp(pending: PendingRead): void {
    pending.controller.abort(canceled());
    if (this.#queue.delete(pending)) this.#start(pending);
  }

  /**
   * The program that waits for a read got a signal. Only if that kills it is the read given up: a
   * program that handles SIGALRM during a page fault would die of a failed read instead.
   */
  interrupt(unique: bigint): void {
    const pending = this.#pending.get(unique & ~resentBit);
    if (!pending) return;
    this.#interrupted.add(pending);
    this.#poll ??= setInterval(() => this.#abortReadsOfKilled(), killedPollMs);
    this.#abortReadsOfKilled();
  }

  /** Gives up all reads, with an error, and waits until none uses the descriptor any more. */
  close(): Promise<void> {
    return this.#end('closed');
  }

  /** As {@link close}, but answers nothing: the successor is asked for these reads again. */
  abandon(): Promise<void> {
    return this.#end('abandoned');
  }

  async #end(phase: 'closed' | 'abandoned'): Promise<void> {
    this.#phase = phase;
    for (const pending of [...this.#pending.values()]) this.#giveUp(pending);
    await Promise.all(this.#running);
  }

  /** Resolves when nothing is being read. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running);
  }

  async #answer(pending: PendingRead): Promise<void> {
    const { read } = pending;
    try {
      this.#send(pending, 0, await this.#fetch(read, pending.controller.signal));
    } catch (error) {
      if (!pending.controller.signal.aborted) this.#onError(error, read.content);
      this.#send(pending, errnoOf(error), Buffer.alloc(0));
    } finally {
      this.#pending.delete(read.unique & ~resentBit);
      this.#forgetInterrupt(pending);
    }
  }

  async #fetch(read: ForwardedRead, signal: AbortSignal): Promise<Buffer> {
    const { content, offset, length } = read;
    if (signal.aborted) throw canceled();
    // Whoever was told to stop may still take its time; the mount does not wait for it.
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(canceled()), { once: true });
    });
    const bytes = await Promise.race([this.#answerRead(read, signal), aborted]);
    if (bytes.length === length) return bytes;
    throw new ThinError(
      'corrupt',
      `Cannot read ${content} at ${offset}: got ${bytes.length} bytes (wanted ${length})`,
    );
  }

  #send({ read }: PendingRead, error: number, body: Buffer): void {
    if (this.#phase === 'abandoned') return;
    const header = Buffer.allocUnsafe(replyHeaderBytes);
    writeReplyHeader(header, read.unique, error, body.length);
    try {
      writevSync(this.#device, [header, body]);
    } catch (failure) {
      if (!isUnwanted(failure)) throw failure;
    }
  }

  #abortReadsOfKilled(): void {
    for (const pending of this.#interrupted) {
      if (!isKilled(pending.read.pid)) continue;
      this.#giveUp(pending);
      this.#interrupted.delete(pending);
    }
    this.#stopPollWhenIdle();
  }

  #forgetInterrupt(pending: PendingRead): void {
    this.#interrupted.delete(pending);
    this.#stopPollWhenIdle();
  }

  #stopPollWhenIdle(): void {
    if (this.#interrupted.size > 0) return;
    clearInterval(this.#poll);
    this.#poll = undefined;
  }
}

function canceled(): ThinError {
  return new ThinError('canceled', 'Cannot finish the read: it is no longer wanted');
}

/** True if SIGKILL is pending for a thread, which is what every deadly signal becomes, or it died. */
function isKilled(thread: number): boolean {
  if (thread === 0) return false; // of another PID namespace: we cannot know
  let status: string;
  try {
    status = readFileSync(`/proc/${thread}/status`, 'latin1');
  } catch {
    return true;
  }
  const pending = /^SigPnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return (BigInt(`0x${pending}`) & sigkillBit) !== 0n;
}

const sigkillBit = 1n << 8n;
