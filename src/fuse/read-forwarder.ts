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

/** Told of every read that a program sees fail. */
export type OnReadError = (error: unknown, content: Digest) => void;

/** Calls of {@link ReadFile} under way at once; one holds at most 1 MiB, when it is answered. */
const readsInFlightMax = 1024;
/** Between looks at whether the programs that wait for interrupted reads were killed. */
const killedPollMs = 250;

interface PendingRead {
  readonly read: ForwardedRead;
  readonly controller: AbortController;
}

/**
 * Answers the reads that the worker threads hand on. Reads beyond {@link readsInFlightMax} wait in
 * a queue, which the kernel bounds: one for each waiting thread, and its own background limit.
 */
export class ReadForwarder {
  readonly #device: number;
  readonly #readFile: ReadFile;
  readonly #onError: OnReadError;
  readonly #pending = new Map<bigint, PendingRead>();
  readonly #interrupted = new Set<PendingRead>();
  readonly #queue: ForwardedRead[] = [];
  readonly #running = new Set<Promise<void>>();
  #poll: NodeJS.Timeout | undefined;
  readonly #closing = new AbortController();

  constructor(device: number, readFile: ReadFile, onError: OnReadError) {
    this.#device = device;
    this.#readFile = readFile;
    this.#onError = onError;
  }

  forward(read: ForwardedRead): void {
    if (this.#closing.signal.aborted) return;
    if (this.#running.size >= readsInFlightMax) {
      this.#queue.push(read);
      return;
    }
    const running = this.#answer(read).finally(() => {
      this.#running.delete(running);
      const next = this.#queue.shift();
      if (next) this.forward(next);
    });
    this.#running.add(running);
  }

  /**
   * The program that waits for a read got a signal. Only if that kills it is the read given up: a
   * program that handles SIGALRM during a page fault would die of a failed read instead.
   */
  interrupt(unique: bigint): void {
    const pending = this.#pending.get(unique);
    if (!pending) return;
    this.#interrupted.add(pending);
    this.#poll ??= setInterval(() => this.#abortReadsOfKilled(), killedPollMs);
    this.#abortReadsOfKilled();
  }

  /** Gives up all reads and waits until none uses the descriptor any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#queue.length = 0;
    for (const { controller } of this.#pending.values()) controller.abort(canceled());
    await Promise.all(this.#running);
  }

  async #answer(read: ForwardedRead): Promise<void> {
    const pending = { read, controller: new AbortController() };
    this.#pending.set(read.unique, pending);
    try {
      this.#send(read.unique, 0, await this.#fetch(read, pending.controller.signal));
    } catch (error) {
      if (!pending.controller.signal.aborted) this.#onError(error, read.content);
      this.#send(read.unique, errnoOf(error), Buffer.alloc(0));
    } finally {
      this.#pending.delete(read.unique);
      this.#forgetInterrupt(pending);
    }
  }

  async #fetch(read: ForwardedRead, signal: AbortSignal): Promise<Buffer> {
    const { content, size, offset, length } = read;
    // Whoever was told to stop may still take its time; the mount does not wait for it.
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(canceled()), { once: true });
    });
    const bytes = await Promise.race([
      this.#readFile(content, size, offset, length, signal),
      aborted,
    ]);
    if (bytes.length === length) return bytes;
    throw new ThinError(
      'corrupt',
      `Cannot read ${content} at ${offset}: got ${bytes.length} bytes (wanted ${length})`,
    );
  }

  #send(unique: bigint, error: number, body: Buffer): void {
    const header = Buffer.allocUnsafe(replyHeaderBytes);
    writeReplyHeader(header, unique, error, body.length);
    try {
      writevSync(this.#device, [header, body]);
    } catch (failure) {
      if (!isUnwanted(failure)) throw failure;
    }
  }

  #abortReadsOfKilled(): void {
    for (const pending of this.#interrupted) {
      if (!isKilled(pending.read.pid)) continue;
      pending.controller.abort(canceled());
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
