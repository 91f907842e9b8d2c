import { closeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { debuglog } from 'node:util';
import type { Worker } from 'node:worker_threads';
import { describeError, fromSystemError, isThinError, ThinError } from '../errors.js';
import { wakeReader } from './device.js';
import { guardExit } from './exit-guard.js';
import { detachPath, mayMount, mountFuse, resolveMountPoint, unmountPath } from './kernel-mount.js';
import { findMount } from './mount-table.js';
import { readBytesMax } from './protocol.js';
import { ReadForwarder } from './read-forwarder.js';
import type { TreeServer, TreeServerOptions } from './tree-server.js';
import type { TreeWorkerData, TreeWorkerReport } from './tree-worker-messages.js';
import { startWorker } from './worker-module.js';

const debug = debuglog('thinfs:fuse');

/** A second thread halves the latency of reads while the first waits for a disk; more add nothing. */
const workerThreads = 2;

/**
 * Serves a tree by our own implementation of the FUSE protocol: names are bytes, times exact to the
 * nanosecond, nothing that is cached by the kernel is asked for twice.
 * @throws ThinError `denied`, `not-found`, `invalid`, `unavailable`
 */
export async function openRawTree(options: TreeServerOptions): Promise<TreeServer> {
  const mountPoint = await resolveMountPoint(options.mountPoint);
  const { allowOther, setuid = false } = options;
  const device = await mountFuse({ mountPoint, allowOther, setuid });
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const workers = startWorkers({
    device,
    stop,
    metadata: sharedBytes(options.metadata),
    form: options.form,
    tiers: options.tiers,
  });
  const server = new RawTreeServer(mountPoint, device, stop, workers, options);
  try {
    await untilInitialized(workers, mountPoint);
    await raiseReadAhead(mountPoint);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

class RawTreeServer implements TreeServer {
  readonly implementation = 'raw';
  readonly mountPoint: string;
  readonly ended: Promise<Error | undefined>;
  readonly #device: number;
  readonly #stop: Int32Array;
  readonly #workers: readonly Worker[];
  readonly #forwarder: ReadForwarder;
  #failure: Error | undefined;

  constructor(
    mountPoint: string,
    device: number,
    stop: Int32Array,
    workers: readonly Worker[],
    options: TreeServerOptions,
  ) {
    this.mountPoint = mountPoint;
    this.#device = device;
    this.#stop = stop;
    this.#workers = workers;
    this.#forwarder = new ReadForwarder(device, options.readFile, options.onReadError);
    const unguard = guardExit(mountPoint, () => this.#stopThreads());
    this.ended = Promise.all(workers.map((worker) => this.#follow(worker, options))).then(() =>
      this.#release(unguard),
    );
  }

  async unmount(): Promise<void> {
    await unmountPath(this.mountPoint);
    // Another mount namespace may have a copy of the mount, which would keep it alive.
    this.#stopThreads();
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (await isSettled(this.ended)) return;
    try {
      await this.unmount();
    } catch (error) {
      if (!isThinError(error, 'busy')) throw error;
      this.#stopThreads();
      await this.ended;
      await detachPath(this.mountPoint);
    }
  }

  /** Ends the threads; the mount is dead once they and the descriptor are gone. */
  #stopThreads(): void {
    Atomics.store(this.#stop, 0, 1);
    for (const _ of this.#workers) wakeReader(this.#device);
  }

  /** Settles when the thread has ended. */
  #follow(worker: Worker, options: TreeServerOptions): Promise<void> {
    worker.on('message', (report: TreeWorkerReport) => this.#hear(report, options));
    worker.on('error', (error) => {
      this.#failure ??= error instanceof Error ? error : new Error(String(error));
      this.#stopThreads(); // what the broken thread was asked for can only be ended with the mount
    });
    return new Promise((resolve) => {
      worker.once('exit', () => resolve());
    });
  }

  #hear(report: TreeWorkerReport, options: TreeServerOptions): void {
    if (report.type === 'read') this.#forwarder.forward(report.read);
    else if (report.type === 'interrupt') this.#forwarder.interrupt(report.unique);
    else if (report.type === 'used') options.onFirstUse(report.contents);
  }

  async #release(unguard: () => void): Promise<Error | undefined> {
    await this.#forwarder.close();
    closeSync(this.#device);
    unguard();
    return this.#failure;
  }
}

function startWorkers(data: TreeWorkerData): Worker[] {
  return Array.from({ length: workerThreads }, () =>
    startWorker('tree-worker', import.meta.url, data),
  );
}

/** Resolves when a thread has answered INIT; rejects if one refused it or ended before. */
function untilInitialized(workers: readonly Worker[], mountPoint: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) =>
      reject(new ThinError('unavailable', `Cannot serve ${mountPoint}: ${reason}`));
    for (const worker of workers) {
      worker.once('error', (error) => fail(String(error)));
      worker.once('exit', () => fail('its threads ended at once'));
      worker.on('message', (report: TreeWorkerReport) => {
        if (report.type !== 'initialized') return;
        if (report.accepted) resolve();
        else fail('this kernel has an older FUSE protocol (wanted Linux 5.1)');
      });
    }
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

/**
 * Lets the kernel read ahead as much as one request can hold, which it allows only after INIT and
 * to root: with 2 ms to the store that makes sequential reading seven times as fast.
 */
async function raiseReadAhead(mountPoint: string): Promise<void> {
  const mount = await findMount(mountPoint);
  if (!mayMount() || !mount) return;
  const path = `/sys/class/bdi/${mount.device}/read_ahead_kb`;
  try {
    await writeFile(path, `${readBytesMax / 1024}`);
  } catch (error) {
    debug(
      '%s',
      describeError(fromSystemError(`Cannot raise the read-ahead of ${mountPoint}`, error)),
    );
  }
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
}
