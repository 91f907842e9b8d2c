import { ThinError } from '../errors.js';

/** Node 20 cuts the offsets of `toString` to 32 bits with a sign. */
const plainOffsetMax = 2 ** 31 - 1;

/** The bytes of an image. Every access is checked, whatever the image claims. */
export class ImageBytes {
  readonly size: number;
  readonly #bytes: Buffer;
  readonly #view: DataView;

  constructor(bytes: Buffer) {
    this.size = bytes.length;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** @throws ThinError `corrupt` if the image has fewer than `at` + `length` bytes. */
  check(at: number, length: number): void {
    if (at >= 0 && at + length <= this.size) return;
    throw corrupt(`${length} bytes at ${at} are wanted of ${this.size}`);
  }

  u8(at: number): number {
    this.check(at, 1);
    return this.#view.getUint8(at);
  }

  u16(at: number): number {
    this.check(at, 2);
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    this.check(at, 4);
    return this.#view.getUint32(at, true);
  }

  /** @throws ThinError `corrupt` if the number is beyond the integers that a double keeps. */
  u64(at: number): number {
    return safe(this.u32(at) + this.u32(at + 4) * 2 ** 32);
  }

  i64(at: number): number {
    this.check(at, 8);
    return safe(this.#view.getUint32(at, true) + this.#view.getInt32(at + 4, true) * 2 ** 32);
  }

  latin1(at: number, length: number): string {
    this.check(at, length);
    if (at + length > plainOffsetMax) return this.slice(at, length).toString('latin1');
    return this.#bytes.toString('latin1', at, at + length);
  }

  /** A view, not a copy. */
  slice(at: number, length: number): Buffer {
    this.check(at, length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Less than, equal to or more than 0 as `length` bytes at `at` sort before, as or after `name`. */
  compare(at: number, length: number, name: string): number {
    this.check(at, length);
    const common = Math.min(length, name.length);
    for (let i = 0; i < common; i++) {
      const difference = this.#view.getUint8(at + i) - name.charCodeAt(i);
      if (difference !== 0) return difference;
    }
    return length - name.length;
  }

  /** True if the `length` bytes at `at` are lower-case hexadecimal digits. */
  isHex(at: number, length: number): boolean {
    this.check(at, length);
    for (let i = at; i < at + length; i++) {
      const byte = this.#view.getUint8(i);
      if ((byte < 0x30 || byte > 0x39) && (byte < 0x61 || byte > 0x66)) return false;
    }
    return true;
  }

  /** Bytes before the first NUL of the `length` bytes at `at`; `length` if there is none. */
  lengthToNul(at: number, length: number): number {
    this.check(at, length);
    let end = 0;
    while (end < length && this.#view.getUint8(at + end) !== 0) end++;
    return end;
  }
}

function safe(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw corrupt(`the number ${value} is out of range`);
}

export function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read metadata image: ${what}`);
}
