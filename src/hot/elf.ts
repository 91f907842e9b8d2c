/*
 * What the dynamic linker reads of an ELF file: interpreter, needed libraries, search paths.
 * Sources: System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html).
 */

/** Bytes `offset` to `offset + length` of a file, fewer at its end. */
export type ReadBytes = (offset: number, length: number) => Promise<Buffer>;

/** How the dynamic linker sees a program or a library. */
export interface DynamicObject {
  /** Two objects go together only if these are the same: class, byte order, machine. */
  readonly kind: string;
  /** Path of the dynamic linker; libraries and static programs have none. */
  readonly interpreter: string | undefined;
  readonly needed: readonly string[];
  readonly rpath: readonly string[];
  readonly runpath: readonly string[];
  /** What is read of the file before its first instruction, beside its head: tables, and what is relocated. */
  readonly start: readonly ByteRange[];
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

const magic = Buffer.from('\x7fELF', 'latin1');
const identBytes = 16;
const headerBytes = 64;
const types = { load: 1, dynamic: 2, interpreter: 3 } as const;
const tags = { needed: 1, stringTable: 5, rpath: 15, runpath: 29 } as const;
/** Tags of where a table lies, and of how many bytes it has: what is read to link an object. */
const tableTags: readonly (readonly [number, number])[] = [
  [tags.stringTable, 10],
  [7, 8], // relocations with addends
  [17, 18], // without
  [36, 35], // packed
  [23, 2], // of calls
];
/** Program headers of one file: real ones have a dozen. */
const segmentsMax = 128;
/** Bytes of a dynamic section that are read: 4096 entries. */
const dynamicBytesMax = 65_536;
/** Bytes of one name or search path. */
const textBytesMax = 4096;
/** Libraries of one object that are followed. */
const neededMax = 1024;
/** Folders of one search path. */
const searchFoldersMax = 64;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly writable: boolean;
}

/** Bit of `p_flags`. */
const writableFlag = 2;

/** Reads numbers of the file's class and byte order. */
interface Layout {
  readonly kind: string;
  readonly wide: boolean;
  half(bytes: Buffer, at: number): number;
  word(bytes: Buffer, at: number): number;
  /** An address or offset: 4 or 8 bytes. */
  address(bytes: Buffer, at: number): number;
}

/** @returns undefined if the file is no ELF file, or a malformed one */
export async function readDynamicObject(read: ReadBytes): Promise<DynamicObject | undefined> {
  const header = await read(0, headerBytes);
  const layout = layoutOf(header);
  if (!layout) return undefined;
  const segments = await readSegments(read, header, layout);
  const interpreter = segments.find(({ type }) => type === types.interpreter);
  const dynamic = segments.find(({ type }) => type === types.dynamic);
  const entries = dynamic ? await readDynamic(read, dynamic, layout) : [];
  const table = entries.find(({ tag }) => tag === tags.stringTable)?.value;
  const base = table === undefined ? undefined : fileOffset(segments, table);
  const texts = async (wanted: number): Promise<string[]> => {
    if (base === undefined) return [];
    const found = entries.filter(({ tag }) => tag === wanted).slice(0, neededMax);
    return Promise.all(found.map(({ value }) => readText(read, base + value)));
  };
  return {
    kind: layout.kind,
    interpreter: interpreter && (await readText(read, interpreter.offset)),
    needed: await texts(tags.needed),
    rpath: searchPath(await texts(tags.rpath)),
    runpath: searchPath(await texts(tags.runpath)),
    start: startRanges(segments, entries),
  };
}

interface DynamicEntry {
  readonly tag: number;
  readonly value: number;
}

/**
 * Code and constants come when they are used; the tables, which linkers put first, and data, which is
 * relocated, are read by the dynamic linker.
 */
function startRanges(
  segments: readonly Segment[],
  entries: readonly DynamicEntry[],
): readonly ByteRange[] {
  const valueAt = (wanted: number) => entries.find(({ tag }) => tag === wanted)?.value;
  const ends = tableTags.map(([place, bytes]) => {
    const start = fileOffset(segments, valueAt(place) ?? Number.NaN);
    return start === undefined ? 0 : start + (valueAt(bytes) ?? 0);
  });
  const data = segments.filter(({ type, writable }) => type === types.load && writable);
  const ranges = data.map(({ offset, fileSize }) => ({ offset, length: fileSize }));
  return [{ offset: 0, length: Math.max(...ends) }, ...ranges].filter(({ length }) => length > 0);
}

function layoutOf(header: Buffer): Layout | undefined {
  if (header.length < headerBytes || !header.subarray(0, 4).equals(magic)) return undefined;
  const [wide, little] = [header[4] === 2, header[5] === 1];
  const half = (bytes: Buffer, at: number): number =>
    little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
  const word = (bytes: Buffer, at: number): number =>
    little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
  const long = (bytes: Buffer, at: number): number =>
    Number(little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
  const machine = half(header, identBytes + 2);
  const kind = `${wide ? 64 : 32}-${little ? 'little' : 'big'}-${machine}`;
  return { kind, wide, half, word, address: wide ? long : word };
}

async function readSegments(read: ReadBytes, header: Buffer, layout: Layout): Promise<Segment[]> {
  const { wide, half, word, address } = layout;
  const offset = address(header, wide ? 32 : 28);
  const size = half(header, wide ? 54 : 42);
  const count = Math.min(half(header, wide ? 56 : 44), segmentsMax);
  if (size !== (wide ? 56 : 32)) return []; // the kernel takes no other
  const bytes = await read(offset, size * count);
  const segments: Segment[] = [];
  for (let at = 0; at + size <= bytes.length; at += size) {
    segments.push({
      type: word(bytes, at),
      offset: address(bytes, at + (wide ? 8 : 4)),
      address: address(bytes, at + (wide ? 16 : 8)),
      fileSize: address(bytes, at + (wide ? 32 : 16)),
      writable: (word(bytes, at + (wide ? 4 : 24)) & writableFlag) !== 0,
    });
  }
  return segments;
}

async function readDynamic(
  read: ReadBytes,
  { offset, fileSize }: Segment,
  { wide, address }: Layout,
): Promise<DynamicEntry[]> {
  const bytes = await read(offset, Math.min(fileSize, dynamicBytesMax));
  const step = wide ? 16 : 8;
  const entries: DynamicEntry[] = [];
  for (let at = 0; at + step <= bytes.length; at += step) {
    const tag = address(bytes, at);
    if (tag === 0) break;
    entries.push({ tag, value: address(bytes, at + step / 2) });
  }
  return entries;
}

/** Where in the file the byte lies that is loaded at `address`. */
function fileOffset(segments: readonly Segment[], address: number): number | undefined {
  const found = segments.find(
    (segment) =>
      segment.type === types.load &&
      address >= segment.address &&
      address < segment.address + segment.fileSize,
  );
  return found && address - found.address + found.offset;
}

async function readText(read: ReadBytes, offset: number): Promise<string> {
  const bytes = await read(offset, textBytesMax);
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

function searchPath(texts: readonly string[]): string[] {
  const folders = texts.flatMap((text) => text.split(':')).filter((path) => path !== '');
  return folders.slice(0, searchFoldersMax);
}
