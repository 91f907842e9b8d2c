import { malformedLayer } from './malformed-layer.js';

/**
 * Numbers of a tar header: octal text (POSIX) or base-256 (GNU, star), and decimal text (PAX).
 * Whatever two common readers would read differently is refused, so that nobody can hide an entry
 * between them: digits behind a leading NUL, digits behind a space, signs, values beyond 2^53.
 */
const space = 0x20;
const digitZero = 0x30;

/**
 * @param at first byte of the field in `block`, which is `length` bytes long
 * @param field for the message
 * @returns an exact integer; negative only from base-256
 * @throws ThinError `corrupt`
 */
export function readNumber(block: Buffer, at: number, length: number, field: string): number {
  return ((block[at] ?? 0) & 0x80) === 0
    ? readOctal(block, at, length, field)
    : readBase256(block, at, length, field);
}

/** An empty field (NULs or spaces only) is 0, as every reader has it. */
export function readOctal(block: Buffer, at: number, length: number, field: string): number {
  const end = at + length;
  let next = at;
  while (next < end && block[next] === space) next += 1;
  const first = next;
  let value = 0;
  for (; next < end; next += 1) {
    const digit = (block[next] ?? 0) - digitZero;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  const digits = next - first;
  while (next < end && block[next] === space) next += 1;
  if (next < end && block[next] !== 0) throw badNumber(block, at, length, field);
  if (digits === 0) {
    while (next < end && block[next] === 0) next += 1;
    if (next < end) throw badNumber(block, at, length, field);
  }
  return value;
}

/** Two's complement, big-endian; the top bit only marks the form, the next one is the sign. */
function readBase256(block: Buffer, at: number, length: number, field: string): number {
  const first = (block[at] ?? 0) & 0x7f;
  let value = first >= 0x40 ? first - 0x80 : first;
  for (let next = at + 1; next < at + length; next += 1) {
    value = value * 256 + (block[next] ?? 0);
    if (!Number.isSafeInteger(value)) throw badNumber(block, at, length, field);
  }
  return value;
}

function badNumber(block: Buffer, at: number, length: number, field: string) {
  const shown = JSON.stringify(block.toString('latin1', at, at + length));
  return malformedLayer(
    `${field} of a tar header is ${shown} (wanted an octal or base-256 number)`,
  );
}

/** A decimal number of a PAX record or a sparse map. @throws ThinError `corrupt` */
export function parseDecimal(text: string, field: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    const shown = JSON.stringify(text.slice(0, 40));
    throw malformedLayer(`${field} is ${shown} (wanted a whole number below 2^53)`);
  }
  return value;
}
