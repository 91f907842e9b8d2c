import { closeSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { Worker } from 'node:worker_threads';
import { isThinError, ThinError } from '../errors.js';
import { startWorker } from '../worker-module.js';
import { ConnectionControl } from './connection.js';
import { guardExit, releaseMount } from './exit-guard.js';
import { detachPath, mountFuse, resolveMountPoint, unmountPath } from './kernel-mount.js';
import { findMount } from './mount-table.js';
import { readAheadMax, setReadAhead } from './read-ahead.js';
import { answerBy, ReadForwarder } from './read-forwarder.js';
import { settlesWithin } from './settles-within.js';
import type { TreeServer, TreeServerOptions } from './tree-server.js';
import { type TreeWorkerData, type TreeWorkerReport, treeState } from './tree-worker-messages.js';

/**
 * A second thread halves the latency of reads while the first waits for a disk; more add nothing. It
 * starts when the first serves, so that mounting waits for one only.
 */
const threads = 2;

/** Milliseconds in which the threads notice that the mount is gone, if it is. */
const namespaceGraceMs = 200;

/**
 * Serves a tree by our own implementation of the FUSE protocol: names are bytes, times exact to the
 * nanosecond, nothing that is cached by the kernel is asked for twice.
 * @throws ThinError `denied`, `not-found`, `invalid`, `unavailable`
 */
export async function openRawTree(options: TreeServerOptions): Promise<TreeServer> {
  const mountPoint = await resolveMountPoint(options.mountPoint);
  const { allowOther, setuid = false } = options;
  const descriptor = await mountFuse({ mountPoint, allowOther, setuid });
  const server = await startServer(mountPoint, descriptor, options);
  try {
    await server.initialized;
    setReadAhead(server.device, readAheadMax);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

interface Connection {
  readonly mountPoint: string;
  readonly device: string;
  readonly descriptor: number;
  readonly control: ConnectionControl;
}

/** The server of a new mount, or no mount. */
async function startServer(
  mountPoint: string,
  descriptor: number,
  options: TreeServerOptions,
): Promise<RawTreeServer> {
  try {
    const device = (await findMount(mountPoint))?.device;
    if (device === undefined) {
      throw new ThinError('unavailable', `Cannot serve ${mountPoint}: its mount is gone`);
    }
    const data: TreeWorkerData = {
      device: descriptor,
      state: new Int32Array(new SharedArrayBuffer(4 * treeState.length)),
      metadata: sharedBytes(options.metadata),
      form: options.form,
      tiers: options.tiers,
    };
    const start = () => startWorker('../fuse/tree-worker', import.meta.url, data);
    return new RawTreeServer(
      { mountPoint, device, descriptor, control: await ConnectionControl.open(device) },
      data.state,
      start(),
      start,
      options,
    );
  } catch (error) {
    closeSync(descriptor);
    await detachPath(mountPoint);
    throw error;
  }
}

class RawTreeServer implements TreeServer {
  readonly implementation = 'raw';
  readonly mountPoint: string;
  /** `major:minor` of the mount. */
  readonly device: string;
  readonly ended: Promise<Error | undefined>;
  /** Resolves when a thread has answered INIT; rejects if it will not. */
  readonly initialized: Promise<void>;
  readonly #descriptor: number;
  readonly #control: ConnectionControl;
  readonly #state: Int32Array;
  readonly #options: TreeServerOptions;
  readonly #forwarder: ReadForwarder;
  #failure: Error | undefined;

  constructor(
    connection: Connection,
    state: Int32Array,
    first: Worker,
    startNext: () => Worker,
    options: TreeServerOptions,
  ) {
    const { mountPoint, device, descriptor, control } = connection;
    this.#control = control;
    this.mountPoint = mountPoint;
    this.device = device;
    this.#descriptor = descriptor;
    this.#state = state;
    this.#options = options;
    this.#forwarder = new ReadForwarder(
      descriptor,
      answerBy(options.readFile),
      options.onReadError,
    );
    const stopThreads = () => Atomics.store(state, treeState.stop, 1);
    const unguard = guardExit(() =>
      releaseMount({ mountPoint, control, threads, stop: stopThreads }),
    );
    this.initialized = untilInitialized(first, mountPoint);
    const second = this.initialized.then(
      () => this.#follow(startNext()),
      () => {},
    );
    this.ended = Promise.all([this.#follow(first), second]).then(() => this.#release(unguard));
  }

  closeFiles(): void {
    Atomics.add(this.#state, treeState.closes, 1);
  }

  async unmount(): Promise<void> {
    await unmountPath(this.mountPoint);
    // Another mount namespace may have a copy of the mount, which would keep it alive.
    if (!(await settlesWithin(this.ended, namespaceGraceMs))) await this.#stopThreads();
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (await settlesWithin(this.ended, 0)) return this.#takeAwayDead();
    try {
      await this.unmount();
    } catch (error) {
      if (!isThinError(error, 'busy')) throw error;
      await this.#stopThreads();
      await this.ended;
      await detachPath(this.mountPoint);
    }
  }

  /** Threads that failed, and did not end with their mount, leave it where it is. */
  async #takeAwayDead(): Promise<void> {
    if ((await this.ended) === undefined) return;
    const seen = await findMount(this.mountPoint);
    if (seen?.device === this.device) await detachPath(this.mountPoint);
  }

  /** Ends the threads. Users where the connection cannot be aborted wake them one by one. */
  async #stopThreads(): Promise<void> {
    Atomics.store(this.#state, treeState.stop, 1);
    if (this.#control.abort()) return;
    while ((await findMount(this.mountPoint))?.device === this.device) {
      const woken = statfs(this.mountPoint).catch(() => undefined);
      await Promise.race([woken, this.ended]);
      if (await settlesWithin(this.ended, 0)) return;
    }
  }

  /** Settles when the thread has ended. */
  #follow(worker: Worker): Promise<void> {
    worker.on('message', (report: TreeWorkerReport) => this.#hear(report));
    return new Promise((resolve) => {
      worker.once('error', (error) => {
        this.#failure ??= error instanceof Error ? error : new Error(String(error));
        this.#control.abort(); // what it was asked for can only be ended with the whole mount
      });
      worker.once('exit', () => resolve());
    });
  }

  #hear(report: TreeWorkerReport): void {
    if (report.type === 'read') this.#forwarder.forward(report.read);
    else if (report.type === 'interrupt') this.#forwarder.interrupt(report.unique);
    else if (report.type === 'used') this.#options.onFirstUse(report.contents);
  }

  async #release(unguard: () => void): Promise<Error | undefined> {
    await this.#forwarder.close();
    closeSync(this.#descriptor);
    unguard();
    this.#control[Symbol.dispose]();
    return this.#failure;
  }
}

function untilInitialized(worker: Worker, mountPoint: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) =>
      reject(new ThinError('unavailable', `Cannot serve ${mountPoint}: ${reason}`));
    worker.once('error', (error) => fail(String(error)));
    worker.once('exit', () => fail('its thread ended at once'));
    worker.on('message', (report: TreeWorkerReport) => {
      if (report.type !== 'initialized') return;
      if (report.accepted) resolve();
      else fail('this kernel has an older FUSE protocol (wanted Linux 5.1)');
    });
  });
}

/** The bytes as threads can share them; copied unless they already lie so. */
function sharedBytes(bytes: Buffer): SharedArrayBuffer {
  const { buffer } = bytes;
  if (buffer instanceof SharedArrayBuffer && buffer.byteLength === bytes.length) return buffer;
  const shared = new SharedArrayBuffer(bytes.length);
  bytes.copy(Buffer.from(shared));
  return shared;
}
