import { ThinError } from '../errors.js';
import type { HttpResponse } from './http-exchange.js';

/** Bytes `start` to `end` (excluded) of a blob of `size` bytes. */
export interface BlobPart {
  readonly start: number;
  readonly end: number;
  readonly size: number;
}

export function isWhole({ start, end, size }: BlobPart): boolean {
  return start === 0 && end === size;
}

/**
 * How many bytes of the answer's body come before `part`: all that precede it if the server ignored
 * the range (200), none if it kept to it (206).
 * @param ranged whether a range was asked for
 * @throws ThinError `corrupt` if status, Content-Range, Content-Type and Content-Length are not those
 *   of the part that was asked for.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.3.7
 */
export function bytesBefore(
  action: string,
  response: Pick<HttpResponse, 'status' | 'header'>,
  part: BlobPart,
  ranged: boolean,
): number {
  const refuse = (problem: string): never => {
    throw new ThinError('corrupt', `${action}: ${problem}`);
  };
  const partial = response.status === 206;
  if (partial && !ranged) refuse('a part came (wanted the whole)');
  if (partial && response.header('content-type')?.toLowerCase().startsWith('multipart/')) {
    refuse('several parts came (wanted one)');
  }
  if (partial && !isRangeOf(response.header('content-range'), part)) {
    refuse(`the registry sends another range (wanted bytes ${part.start} to ${part.end - 1})`);
  }
  const expected = partial ? part.end - part.start : part.size;
  const length = response.header('content-length');
  if (length !== undefined && length !== String(expected)) {
    refuse(`${length.slice(0, 20)} bytes are announced (wanted ${expected})`);
  }
  return partial ? 0 : part.start;
}

function isRangeOf(header: string | undefined, { start, end, size }: BlobPart): boolean {
  const range = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16}|\*)$/.exec(header ?? '');
  if (!range) return false;
  const [, first, last, total] = range;
  return (
    Number(first) === start && Number(last) === end - 1 && (total === '*' || Number(total) === size)
  );
}
