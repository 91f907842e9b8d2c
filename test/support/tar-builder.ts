/**
 * Writes tar archives byte by byte, right ones and wrong ones: what no tool would write is what the
 * tests of the layer reader need. Strings are bytes, one character each (ISO 8859-1).
 */
export interface HeaderFields {
  readonly name?: string;
  /** One character; a regular file unless given. */
  readonly type?: string;
  readonly mode?: number | Buffer;
  readonly uid?: number | Buffer;
  readonly gid?: number | Buffer;
  /** Length of `data` unless given. */
  readonly size?: number | Buffer;
  /** Seconds; {@link usualTime} unless given. */
  readonly mtime?: number | Buffer;
  readonly target?: string;
  /** Magic and version, 8 bytes; `ustar\0` and `00` unless given. */
  readonly magic?: string;
  readonly major?: number | Buffer;
  readonly minor?: number | Buffer;
  readonly prefix?: string;
  /** Bytes to put into the header where they belong, before the checksum is made. */
  readonly patch?: ReadonlyMap<number, Buffer>;
  readonly checksum?: number;
}

/** No round number, so that a time that got lost is seen. */
export const usualTime = 1_234_567_890;

export const gnuMagic = 'ustar  \0';
export const v7Magic = '\0'.repeat(8);
export const endOfArchive = Buffer.alloc(1024);

export function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  block.write((fields.name ?? '').slice(0, 100), 0, 'latin1');
  number(block, 100, 8, fields.mode ?? 0o644);
  number(block, 108, 8, fields.uid ?? 0);
  number(block, 116, 8, fields.gid ?? 0);
  number(block, 124, 12, fields.size ?? 0);
  number(block, 136, 12, fields.mtime ?? usualTime);
  block.write(fields.type ?? '0', 156, 'latin1');
  block.write((fields.target ?? '').slice(0, 100), 157, 'latin1');
  block.write(fields.magic ?? 'ustar\x0000', 257, 'latin1');
  if (fields.major !== undefined) number(block, 329, 8, fields.major);
  if (fields.minor !== undefined) number(block, 337, 8, fields.minor);
  block.write((fields.prefix ?? '').slice(0, 155), 345, 'latin1');
  for (const [at, patch] of fields.patch ?? []) patch.copy(block, at);
  block.write('        ', 148, 'latin1');
  const checksum = fields.checksum ?? block.reduce((sum, byte) => sum + byte, 0);
  block.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A header with `data` behind it, filled up to whole blocks. */
export function entry(fields: HeaderFields, data: Buffer | string = ''): Buffer {
  const content = typeof data === 'string' ? bytes(data) : data;
  return Buffer.concat([header({ size: content.length, ...fields }), padded(content)]);
}

export function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

export function file(name: string, data: Buffer | string = '', fields: HeaderFields = {}): Buffer {
  return entry({ name, ...fields }, data);
}

export function directory(name: string, fields: HeaderFields = {}): Buffer {
  return entry({ name, type: '5', mode: 0o755, ...fields });
}

export function symlink(name: string, target: string, fields: HeaderFields = {}): Buffer {
  return entry({ name, type: '2', mode: 0o777, target, ...fields });
}

export function hardlink(name: string, target: string, fields: HeaderFields = {}): Buffer {
  return entry({ name, type: '1', target, ...fields });
}

/** A PAX header for the next entry, or with type `g` for all later ones. */
export function pax(records: Readonly<Record<string, string>>, type = 'x'): Buffer {
  return paxBody(Object.entries(records), type);
}

/** For records that repeat a key. */
export function paxBody(records: readonly (readonly [string, string])[], type = 'x'): Buffer {
  const body = records.map(([key, value]) => paxRecord(key, value)).join('');
  return entry({ name: 'PaxHeaders/entry', type }, body);
}

export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return `${length}${rest}`;
}

/** A GNU header with the long name (`L`) or link target (`K`) of the next entry. */
export function gnuLong(type: 'L' | 'K', text: string): Buffer {
  return entry({ name: '././@LongLink', type, magic: gnuMagic }, `${text}\0`);
}

/** Entries with the end of an archive behind them. */
export function archive(...entries: readonly Buffer[]): Buffer {
  return Buffer.concat([...entries, endOfArchive]);
}

/** Octal digits and a NUL where they fit, else base-256. */
function number(block: Buffer, at: number, length: number, value: number | Buffer): void {
  if (Buffer.isBuffer(value)) value.copy(block, at, 0, length);
  else if (value >= 0 && value < 8 ** (length - 1)) {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  } else base256(value, length).copy(block, at);
}

export function base256(value: number | bigint, length: number): Buffer {
  const field = Buffer.alloc(length);
  let rest = BigInt.asUintN(length * 8, BigInt(value));
  for (let at = length - 1; at >= 0; at -= 1, rest >>= 8n) field[at] = Number(rest & 0xffn);
  field[0] = (field[0] ?? 0) | 0x80;
  return field;
}
