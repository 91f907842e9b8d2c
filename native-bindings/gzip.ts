import { addon } from './addon.js';
import { StreamInflater } from './stream-inflater.js';

/**
 * A stream of gzip members (RFC 1952), inflated by ISA-L. The CRC and length of every member are
 * checked. Zero bytes after the last member are ignored, as gzip does; any other bytes there are
 * refused, where gzip and Node would drop them.
 */
export class GzipInflater {
  readonly #stream: StreamInflater;

  constructor() {
    const handle = addon().gzipInflaterOpen();
    this.#stream = new StreamInflater('gzip', (input, output) =>
      addon().gzipInflaterStep(handle, input, output),
    );
  }

  /** True while `push()` has more output of the bytes that were given last. */
  get more(): boolean {
    return this.#stream.more;
  }

  /**
   * Takes compressed bytes, or goes on with the last ones if there are none, and returns at most
   * 1 MiB of plain bytes. One call at a time; while {@link more}, only calls without bytes.
   * @param bytes must not change until they were used up
   * @param reused where the plain bytes go, in place of a new buffer
   * @throws ThinError `corrupt`; the inflater is over then
   */
  push(bytes?: Buffer, reused?: Buffer): Promise<Buffer[]> {
    return this.#stream.push(bytes, reused);
  }

  /** @throws ThinError `corrupt` if the stream may not end here (no member at all, or inside one) */
  end(): void {
    this.#stream.end();
  }
}
