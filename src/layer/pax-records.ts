import { malformedLayer } from './malformed-layer.js';

/**
 * The records of a PAX extended header, keys and values as bytes (one character each). The pairs of
 * sparse format 0.0, which repeat their keys, are gathered under the key of format 0.1.
 *
 * Malformed records refuse the layer: a reader that skips them takes another size for the next
 * entry, and sees other files, than one that does not (CVE-2025-62518).
 * @see https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html (pax Extended Header)
 */
export type PaxRecords = ReadonlyMap<string, string>;

export const noRecords: PaxRecords = new Map();

export const sparseMapKey = 'GNU.sparse.map';
const sparsePairKeys = ['GNU.sparse.offset', 'GNU.sparse.numbytes'];

/** Keys whose value may hold NULs: it is data, no text. */
const binaryKey = /^(SCHILY|LIBARCHIVE)\.xattr\./;

/** @throws ThinError `corrupt` */
export function parsePaxRecords(body: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  const sparsePairs: string[] = [];
  for (let at = 0; at < body.length; ) {
    const record = recordAt(body, at);
    if (sparsePairKeys.includes(record.key)) {
      if (record.key !== sparsePairKeys[sparsePairs.length % 2]) {
        throw malformedLayer(`PAX record ${record.key} is out of order`);
      }
      sparsePairs.push(record.value);
    } else {
      records.set(record.key, record.value);
    }
    at = record.end;
  }
  if (sparsePairs.length > 0) records.set(sparseMapKey, sparsePairs.join(','));
  return records;
}

/** `<length> <key>=<value>\n`, where the length counts the whole record with its own digits. */
function recordAt(body: Buffer, at: number): { key: string; value: string; end: number } {
  const digits = /^[1-9]\d{0,6}(?= )/.exec(
    body.toString('latin1', at, Math.min(at + 8, body.length)),
  )?.[0];
  const end = at + Number(digits ?? Number.NaN);
  if (digits === undefined || end > body.length || body[end - 1] !== 0x0a)
    throw badRecord(body, at);
  const text = body.toString('latin1', at + digits.length + 1, end - 1);
  const equals = text.indexOf('=');
  if (equals <= 0) throw badRecord(body, at);
  const key = text.slice(0, equals);
  const value = text.slice(equals + 1);
  if (key.includes('\0') || (value.includes('\0') && !binaryKey.test(key))) {
    throw malformedLayer(`PAX record ${JSON.stringify(key.slice(0, 40))} holds a NUL`);
  }
  return { key, value, end };
}

function badRecord(body: Buffer, at: number) {
  const shown = JSON.stringify(body.toString('latin1', at, Math.min(at + 30, body.length)));
  return malformedLayer(
    `PAX record ${shown} is malformed (wanted "<length> <key>=<value>" and LF)`,
  );
}
