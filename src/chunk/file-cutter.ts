import { NativeCutter } from '../../native-bindings/cut-and-hash.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { Batch, type CutFile } from './batch.js';
import { ChunkAssembler } from './chunk-assembler.js';
import { cutterParameters } from './cutter.js';

/** Who gets the chunks, in the order of the files' bytes. */
export interface ChunkSink<File> {
  /** @param bytes valid until the returned promise is settled, or until the call returns */
  chunk(file: File, digest: Digest, bytes: Buffer): Promise<void> | undefined;
  /** All chunks of `file` were given. */
  fileEnded(file: File, content: Digest): void;
  /** Cutting failed, or the sink did: nothing comes any more. */
  failed(error: unknown): void;
}

/**
 * Cuts files into chunks on the libuv pool, a batch at a time: while one is cut and its chunks go to
 * the sink, the next one fills. A batch starts when it is full, or when a file has ended in it and no
 * other batch is under way, so that whoever waits for a file's end never waits for more input.
 */
export class FileCutter<File extends CutFile> {
  readonly #sink: ChunkSink<File>;
  readonly #cutter = new NativeCutter(cutterParameters);
  readonly #assembler = new ChunkAssembler();
  #filling = new Batch<File>();
  #spare = new Batch<File>();
  #openFile: File | undefined;
  #underWay: Promise<void> | undefined;
  #startPlanned: boolean = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(sink: ChunkSink<File>) {
    this.#sink = sink;
  }

  async begin(file: File): Promise<void> {
    if (this.#filling.room === 0) await this.#next();
    this.#filling.begin(file);
    this.#openFile = file;
  }

  async append(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#filling.room === 0) await this.#next();
      const end = Math.min(bytes.length, at + this.#filling.room);
      this.#filling.append(bytes.subarray(at, end));
      at = end;
    }
  }

  async appendHole(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      if (this.#filling.holeRoom === 0) await this.#next();
      const part = Math.min(left, this.#filling.holeRoom);
      this.#filling.appendHole(part);
      left -= part;
    }
  }

  end(): void {
    this.#filling.end();
    this.#openFile = undefined;
    this.#planStart();
  }

  /** Waits until the sink has had everything. */
  async drain(): Promise<void> {
    while (this.#filling.runs.length > 0) await this.#next();
    await this.#underWay;
    if (this.#failure) throw this.#failure.error;
  }

  /** Gives up; what is under way has ended when the promise is settled. */
  async stop(error: unknown): Promise<void> {
    this.#failure ??= { error };
    await this.#underWay;
  }

  async #next(): Promise<void> {
    while (this.#underWay) await this.#underWay;
    if (this.#failure) throw this.#failure.error;
    this.#start();
  }

  /** Not at once: what else comes in this turn of the event loop goes into the same batch. */
  #planStart(): void {
    if (this.#underWay || this.#startPlanned) return;
    this.#startPlanned = true;
    setImmediate(() => {
      this.#startPlanned = false;
      if (!this.#underWay && this.#filling.endedCount > 0) this.#start();
    });
  }

  #start(): void {
    const batch = this.#filling;
    if (batch.runs.length === 0 || this.#failure) return;
    this.#filling = this.#spare;
    if (this.#openFile) this.#filling.resume(this.#openFile);
    this.#underWay = this.#process(batch).then(
      () => {
        batch.clear();
        this.#spare = batch;
        this.#underWay = undefined;
        if (this.#filling.endedCount > 0) this.#planStart();
      },
      (error) => {
        this.#failure ??= { error };
        this.#underWay = undefined;
        this.#sink.failed(error);
      },
    );
  }

  async #process(batch: Batch<File>): Promise<void> {
    const records = await this.#cutter.cut(batch.bytes, batch.runs);
    this.#assembler.open(batch);
    let index = 0;
    for (const record of records) {
      const file = batch.files[index];
      if (!file) throw new ThinError('invalid', 'Cannot cut chunks: more files came than went in');
      if (record.type === 'chunk') {
        const bytes = this.#assembler.take(record.length);
        const waiting = this.#sink.chunk(file, record.digest, bytes);
        if (waiting) await waiting;
      } else {
        this.#sink.fileEnded(file, record.digest);
        index++;
      }
    }
    this.#assembler.close();
  }
}
