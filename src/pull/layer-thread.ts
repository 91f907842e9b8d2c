import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { BulkWriter } from '../cache/bulk-writer.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import type { LayerSummary } from '../layer/read-layer.js';
import { RingWriter } from './byte-ring.js';
import type { FromWorker, LayerJob, LayerTask, StartLayer, ToWorker } from './layer-messages.js';
import type { LayerWorker } from './pull-workers.js';
import type { WaitClock } from './wait-clock.js';

/** What a layer's way through a worker tells. */
export interface LayerEvents {
  /** So many of the source's bytes are inflated and stored, as a whole; and so many plain ones. */
  taken(compressedBytes: number, plainBytes: number): void;
  /** Bytes of new files on the disk. */
  written(bytes: number): void;
  /** Files that are in a tier now, as packed-files.ts has them. */
  stored(files: Buffer): void;
  /** Told what the layer waits for: its source, or its worker. */
  readonly waits: WaitClock;
}

/** A worker thread that stores layers, any number at a time. */
export class LayerThread implements AsyncDisposable {
  readonly #worker: LayerWorker;
  readonly #running = new Set<RunningLayer>();
  #ended: ThinError | undefined;

  constructor(worker: LayerWorker) {
    this.#worker = worker;
    worker.onEnd((error) => this.#end(error));
  }

  /** Layers in it now. */
  get load(): number {
    return this.#running.size;
  }

  /** False when it has died. */
  get usable(): boolean {
    return this.#ended === undefined;
  }

  /**
   * Stores one layer.
   * @throws ThinError `corrupt` if it is not as `job` says; `no-space`; what the source throws. No
   *   more than files that belong to nothing is left then.
   */
  store(
    source: AsyncIterable<Buffer>,
    job: LayerJob,
    writer: BulkWriter,
    events: LayerEvents,
  ): Promise<LayerSummary> {
    return this.#run({ type: 'layer', job }, source, writer, events);
  }

  /**
   * Reads the record of a layer that was stored before, and looks whether its files are all here.
   * @throws ThinError `not-found` if the record or a file is not here, `corrupt` if it is damaged
   */
  find(record: string, writer: BulkWriter, events: LayerEvents): Promise<LayerSummary> {
    return this.#run({ type: 'find', record, place: writer.place }, [], writer, events);
  }

  async #run(
    task: LayerTask,
    source: AsyncIterable<Buffer> | Iterable<Buffer>,
    writer: BulkWriter,
    events: LayerEvents,
  ): Promise<LayerSummary> {
    if (this.#ended !== undefined) throw this.#ended;
    const { port1, port2 } = new MessageChannel();
    const running = new RunningLayer(port1, writer, events);
    this.#running.add(running);
    try {
      const start: StartLayer = { task, memory: running.memory, port: port2 };
      this.#worker.postMessage(start, [port2]);
      return await running.run(source);
    } finally {
      this.#running.delete(running);
      port1.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(new Error('it was stopped'));
    await this.#worker.terminate();
  }

  #end(error: unknown): void {
    this.#ended ??= fromSystemError('Cannot use worker', error);
    for (const running of this.#running) running.fail(this.#ended);
  }
}

/** One layer on its way through a worker. */
class RunningLayer {
  readonly #port: MessagePort;
  readonly #writer: BulkWriter;
  readonly #events: LayerEvents;
  readonly #result: Promise<LayerSummary>;
  #resolve: (summary: LayerSummary) => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;
  readonly #ring = new RingWriter();
  #taken = 0;
  #failed: boolean;
  #wake: () => void = () => undefined;

  constructor(port: MessagePort, writer: BulkWriter, events: LayerEvents) {
    this.#port = port;
    port.on('message', (message: FromWorker) => this.#receive(message));
    this.#writer = writer;
    this.#events = events;
    this.#failed = false;
    this.#result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#result.catch(() => undefined); // is thrown where it is awaited
  }

  /** Where the worker finds the bytes. */
  get memory(): SharedArrayBuffer {
    return this.#ring.memory;
  }

  async run(source: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<LayerSummary> {
    try {
      await this.#send(source);
    } catch (error) {
      this.#post({ type: 'cancel' });
      const failure = await this.#result.then(
        () => error,
        (found: unknown) => found,
      );
      throw isThinError(failure, 'canceled') ? error : failure;
    }
    return this.#result;
  }

  /** The layer's worker is gone. */
  fail(error: ThinError): void {
    this.#failed = true;
    this.#reject(error);
    this.#wake();
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'taken':
        this.#ring.freed(message.bytes);
        this.#taken += message.bytes;
        this.#events.taken(this.#taken, message.plainBytes);
        this.#wake();
        break;
      case 'reserve':
        void this.#grant(message.bytes, message.exact);
        break;
      case 'stored':
        this.#stored(Buffer.from(message.files.buffer));
        break;
      case 'done':
        this.#resolve(message.summary);
        break;
      case 'failed':
        this.fail(new ThinError(message.code, message.message));
    }
  }

  #stored(files: Buffer): void {
    this.#events.written(this.#writer.stored(files));
    this.#events.stored(files);
  }

  async #grant(bytes: number, exact: boolean): Promise<void> {
    try {
      if (exact) await this.#writer.reserve(bytes);
      this.#post({ type: 'granted', bytes: exact ? bytes : this.#writer.grant(bytes) });
    } catch (error) {
      // It fails when the worker has told of everything that it has stored until then.
      const { code, message } = fromSystemError('Cannot store layer', error);
      this.#post({ type: 'refused', code, message });
    }
  }

  async #send(source: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    const { waits } = this.#events;
    waits.enter('source');
    for await (const bytes of source) {
      waits.enter('worker');
      await this.#sendPiece(bytes);
      if (this.#failed) break;
      waits.enter('source');
    }
    waits.enter('worker');
    if (!this.#failed) this.#post({ type: 'end' });
  }

  async #sendPiece(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#failed; ) {
      const part = this.#ring.write(bytes.subarray(at));
      if (part.length > 0) this.#post({ type: 'bytes', part });
      else await this.#turn();
      at += part.length;
    }
  }

  #post(message: ToWorker): void {
    this.#port.postMessage(message);
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
