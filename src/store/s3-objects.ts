import { Readable } from 'node:stream';
import type { PutObjectCommandInput, S3Client } from '@aws-sdk/client-s3';
import { isThinError, ThinError } from '../errors.js';
import { collect, exactly } from './byte-stream.js';
import { checkContentRange } from './http-answer.js';
import type { ObjectRange, ObjectWriter } from './objects.js';
import { s3Error } from './s3-error.js';

/** Objects up to this many bytes are put by one request: S3's least size of a part. */
const wholeBytesMax = 5 * 1024 * 1024;
/** Bytes of a part, of which {@link partsInFlight} are in memory. */
const partBytes = 8 * 1024 * 1024;
const partsInFlight = 2;
/** S3 takes 10 000 parts of an object. */
const partsMax = 10_000;

/** Where in a bucket, and how it is reached; what is left out comes from AWS's usual places. */
export interface S3Options {
  /** URL of another service than AWS's own. */
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  /** `endpoint/bucket/key` in place of `bucket.endpoint/key`; default for another endpoint. */
  readonly pathStyle?: boolean | undefined;
}

type Sdk = typeof import('@aws-sdk/client-s3');

/** Objects of a bucket under a prefix. */
export class S3Objects implements ObjectWriter {
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #bucket: string;
  /** Empty, or with a `/` at its end. */
  readonly #prefix: string;

  private constructor(sdk: Sdk, client: S3Client, bucket: string, prefix: string) {
    this.#sdk = sdk;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  /**
   * Loads the SDK, which takes a quarter of a second that only those pay who use S3; no request yet.
   * @param location `s3://bucket[/prefix]`
   * @throws ThinError `invalid`
   */
  static async open(location: string, options: S3Options): Promise<S3Objects> {
    const { bucket, prefix } = parseLocation(location);
    // What it would say about this version of Node is news for us, not for whoever runs thinfs.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
    const sdk = await import('@aws-sdk/client-s3');
    const { endpoint, pathStyle } = options;
    const region = options.region ?? (endpoint ? regionElsewhere(process.env) : undefined);
    const client = new sdk.S3Client({
      ...(endpoint && { endpoint }),
      ...(region && { region }),
      forcePathStyle: pathStyle ?? endpoint !== undefined,
      // Older services refuse the checksums that newer SDKs add; ours are checked anyway.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
    return new S3Objects(sdk, client, bucket, prefix);
  }

  async *openRange(path: string, range: ObjectRange, signal: AbortSignal): AsyncGenerator<Buffer> {
    if (range.length === 0) return;
    const action = `Cannot read ${path} of ${this}`;
    try {
      const command = new this.#sdk.GetObjectCommand({
        ...this.#at(path),
        Range: `bytes=${range.offset}-${range.offset + range.length - 1}`,
      });
      const answer = await this.#client.send(command, { abortSignal: signal });
      const body = bodyOf(answer.Body, action);
      try {
        checkContentRange(answer.ContentRange, range, action);
        yield* exactly(body, range.length, `${path} of ${this}`);
      } finally {
        body.destroy();
      }
    } catch (error) {
      throw s3Error(action, error, signal);
    }
  }

  async readSmall(path: string, bytesMax: number, signal: AbortSignal) {
    const action = `Cannot read ${path} of ${this}`;
    try {
      const command = new this.#sdk.GetObjectCommand(this.#at(path));
      const answer = await this.#client.send(command, { abortSignal: signal });
      const body = bodyOf(answer.Body, action);
      const size = answer.ContentLength ?? Number.POSITIVE_INFINITY;
      if (size <= bytesMax) return await collect(body, size, `${path} of ${this}`);
      body.destroy();
      throw new ThinError('corrupt', `${action}: ${size} bytes (wanted at most ${bytesMax})`);
    } catch (error) {
      const converted = s3Error(action, error, signal);
      if (isThinError(converted, 'not-found')) return undefined;
      throw converted;
    }
  }

  async has(path: string, size: number, signal: AbortSignal): Promise<boolean> {
    try {
      const command = new this.#sdk.HeadObjectCommand(this.#at(path));
      const answer = await this.#client.send(command, { abortSignal: signal });
      return answer.ContentLength === size;
    } catch (error) {
      const converted = s3Error(`Cannot look for ${path} in ${this}`, error, signal);
      if (isThinError(converted, 'not-found')) return false;
      throw converted;
    }
  }

  async put(path: string, size: number, source: AsyncIterable<Buffer>, signal: AbortSignal) {
    try {
      const whole = exactly(source, size, path);
      if (size <= wholeBytesMax) await this.#putWhole(path, size, whole, signal);
      else await this.#putParts(path, size, whole, signal);
    } catch (error) {
      throw s3Error(`Cannot write ${path} to ${this}`, error, signal);
    }
  }

  async #putWhole(path: string, size: number, source: AsyncIterable<Buffer>, signal: AbortSignal) {
    const body = await collect(source, size, path);
    await this.#client.send(new this.#sdk.PutObjectCommand(this.#put(path, body)), {
      abortSignal: signal,
    });
  }

  /** The object appears when all parts are there; a source that throws takes them back. */
  async #putParts(path: string, size: number, source: AsyncIterable<Buffer>, signal: AbortSignal) {
    const { Upload } = await import('@aws-sdk/lib-storage');
    signal.throwIfAborted();
    const upload = new Upload({
      client: this.#client,
      params: this.#put(path, Readable.from(source, { objectMode: false })),
      partSize: Math.max(partBytes, Math.ceil(size / partsMax)),
      queueSize: partsInFlight,
    });
    const abort = () => void upload.abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      await upload.done();
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #put(path: string, body: Buffer | Readable): PutObjectCommandInput {
    const type = path.endsWith('.json') ? 'application/json' : 'application/octet-stream';
    return { ...this.#at(path), Body: body, ContentType: type };
  }

  #at(path: string) {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${path}` };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
  }

  toString(): string {
    return `s3://${this.#bucket}/${this.#prefix}`;
  }
}

const bucketGrammar = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/;

function parseLocation(location: string): { bucket: string; prefix: string } {
  const [bucket = '', ...rest] = location.replace(/^s3:\/\//, '').split('/');
  const prefix = rest.filter((part) => part !== '').join('/');
  if (!bucketGrammar.test(bucket) || /[\r\n?#]/.test(prefix)) {
    throw new ThinError('invalid', `Cannot use store ${location}: wanted s3://bucket/prefix`);
  }
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` };
}

/** Services other than AWS seldom have regions, but requests to them are signed with one. */
function regionElsewhere(environment: NodeJS.ProcessEnv): string {
  return environment.AWS_REGION ?? environment.AWS_DEFAULT_REGION ?? 'us-east-1';
}

function bodyOf(body: unknown, action: string): Readable {
  if (body instanceof Readable) return body;
  throw new ThinError('unavailable', `${action}: the answer has no body`);
}
