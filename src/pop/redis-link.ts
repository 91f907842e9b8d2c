import { Cluster, Redis } from 'ioredis';
import { fromSystemError, ThinError } from '../errors.js';
import type { RedisAddress } from '../pop-option.js';
import { showRedisAddress } from '../pop-option.js';
import { fairTimeout } from './fair-timeout.js';
import { redisScripts, type ScriptName } from './redis-scripts.js';

/** See the constructor of {@link RedisLink}. */
const callTimeoutMs = 50;
/** Calls in a row without an answer after which nobody but the heartbeat asks. */
const silentMax = 2;
/** Milliseconds to connect; between attempts to connect; and without an answer until it is done anew. */
const connectTimeoutMs = 1000;
const reconnectMaxMs = 500;
const deadAfterMs = 2000;

export interface CallOptions {
  /** Milliseconds, where more may be lost than by a read. */
  readonly timeoutMs?: number | undefined;
  /** It is asked although Redis does not answer: to find out when it does again. */
  readonly probe?: boolean;
  /** Given an answer that came after the time was up. */
  readonly onLate?: (answer: unknown) => void;
}

export interface RedisLinkEvents {
  /** A message on one of our channels. */
  readonly onMessage: (text: string) => void;
  /** Redis is not asked any more, with why; or is again. */
  readonly onTurn: (why: ThinError | undefined) => void;
}

/**
 * One site's Redis, which may be absent, slow or empty at any time: nothing here waits longer than
 * it says, and while Redis does not answer nobody is kept waiting at all.
 */
export class RedisLink implements AsyncDisposable {
  readonly #name: string;
  readonly #client: Redis | Cluster;
  /** A connection that listens can do nothing else; a cluster's client has one inside. */
  readonly #listener: Redis | Cluster;
  readonly #events: RedisLinkEvents;
  readonly #answerMs: number;
  #silent = 0;
  #answeredAt = performance.now();
  #up: boolean;
  #closed: boolean;

  /**
   * Connects in the background, now and whenever the connection is lost.
   * @param answerMs milliseconds that a read may lose to a Redis that does not answer
   */
  constructor(
    address: RedisAddress,
    channels: readonly string[],
    events: RedisLinkEvents,
    answerMs = callTimeoutMs,
  ) {
    this.#answerMs = answerMs;
    this.#name = showRedisAddress(address);
    this.#events = events;
    this.#up = false;
    this.#closed = false;
    this.#client = connect(address);
    this.#listener = this.#client instanceof Redis ? this.#client.duplicate() : this.#client;
    for (const each of new Set([this.#client, this.#listener])) {
      each.on('error', (error: unknown) => this.#turn(this.#failure(error)));
    }
    this.#client.on('close', () => this.#turn(this.#failure(new Error('the connection is lost'))));
    // Does its work, again after each connection, or fails with it: the next beat tells.
    this.#listener.on('ready', () => {
      void this.#listener.subscribe(...channels).catch(() => undefined);
    });
    this.#listener.on('message', (_, text: string) => events.onMessage(text));
  }

  /** Whether a call has a prospect of being answered in time. */
  get up(): boolean {
    return this.#up;
  }

  /** By which this machine reaches Redis, and is likely to be reached by the others. */
  get localAddress(): string | undefined {
    const node = this.#client instanceof Redis ? this.#client : this.#client.nodes('all')[0];
    return node?.stream?.localAddress;
  }

  /**
   * Runs a script.
   * @throws ThinError `unavailable` when the time is up, at once while Redis is known not to answer
   */
  async call(
    script: ScriptName,
    keys: readonly string[],
    args: readonly (string | number)[],
    { timeoutMs = 0, probe = false, onLate }: CallOptions = {},
  ): Promise<unknown> {
    if (!this.#up && !probe) throw this.#failure(new Error('it does not answer now'));
    const answer = this.#run(script, [...keys, ...args]);
    const is: { slow: boolean; late: boolean } = { slow: false, late: false };
    const end = fairTimeout(this.#answerMs, () => {
      is.slow = true;
    });
    answer.finally(end).then(
      (value) => {
        this.#answered(is.slow);
        if (is.late) onLate?.(value);
      },
      () => undefined, // told to the caller, if it still waits
    );
    try {
      return await inTime(answer, Math.max(timeoutMs, this.#answerMs));
    } catch (error) {
      is.late = true;
      throw this.#missed(error);
    }
  }

  /** By its hash, and in full where Redis has not heard it since it was started. */
  async #run(script: ScriptName, args: readonly (string | number)[]): Promise<unknown> {
    const { lua, sha1, keys } = redisScripts[script];
    try {
      return await this.#client.evalsha(sha1, keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return await this.#client.eval(lua, keys, ...args);
    }
  }

  /** What comes too late for a read shows that the connection lives, and not that asking is of use. */
  #answered(slow: boolean): void {
    this.#answeredAt = performance.now();
    if (slow) return;
    this.#silent = 0;
    this.#turn(undefined);
  }

  #missed(error: unknown): ThinError {
    const failure = this.#failure(error);
    this.#silent += 1;
    if (this.#silent >= silentMax) this.#turn(failure);
    // A connection that was cut without a word would be waited for until TCP gives up.
    if (performance.now() - this.#answeredAt > deadAfterMs && this.#client.status === 'ready') {
      this.#answeredAt = performance.now();
      for (const each of new Set([this.#client, this.#listener])) each.disconnect(true);
    }
    return failure;
  }

  #turn(why: ThinError | undefined): void {
    const up = why === undefined;
    if (up === this.#up || this.#closed) return;
    this.#up = up;
    this.#events.onTurn(why);
  }

  #failure(error: unknown): ThinError {
    return fromSystemError(`Cannot ask Redis at ${this.#name}`, error);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#up = false;
    this.#client.disconnect();
    this.#listener.disconnect();
    return Promise.resolve();
  }
}

function connect({ kind, hosts, tls, primary, database, ...login }: RedisAddress): Redis | Cluster {
  const retry = (attempt: number) => Math.min(25 * 2 ** Math.min(attempt, 6), reconnectMaxMs);
  const options = {
    ...login,
    ...(tls && { tls: {} }),
    connectTimeout: connectTimeoutMs,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // After a failover the old primary refuses what changes something.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  };
  if (kind === 'cluster') {
    // Connections to its nodes are made by the first command for them, which has to wait for that.
    const { enableOfflineQueue: _, ...redisOptions } = options;
    return new Cluster([...hosts], {
      redisOptions,
      enableOfflineQueue: false,
      clusterRetryStrategy: retry,
    });
  }
  const single = { ...options, db: database, retryStrategy: retry };
  if (kind === 'server') return new Redis({ ...single, ...hosts[0] });
  return new Redis({
    ...single,
    sentinels: [...hosts],
    name: primary ?? '',
    sentinelRetryStrategy: retry,
    ...(tls && { enableTLSForSentinelMode: true }),
  });
}

function inTime<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = fairTimeout(timeoutMs, () => {
      reject(new ThinError('unavailable', `no answer within ${timeoutMs} ms`));
    });
    answer.finally(cancel).then(resolve, reject);
  });
}
