import { importsMax, type PythonImport } from './python-imports.js';

/*
 * What a module imports while it is imported, found in its byte code: a header of 16 bytes, then one
 * marshalled code object, whose own instructions are those of the module's top level.
 * Sources: https://github.com/python/cpython/blob/v3.11.0/Python/marshal.c, PEP 552 (the header).
 */

/** The version's number, the kind of check, and what is checked. */
const headerBytes = 16;
/** Of the kind of check: by hash, and whether that is compared. */
const [hashFlag, checkedFlag] = [1, 2];
/** Objects in objects: real modules have some 30. */
const depthMax = 256;
/** Instructions are two bytes each, arguments of more than one byte come in front. */
const instructionBytes = 2;
/** What a module's name is compared with at its end: the rest is for when it is the program. */
const mainName = '__main__';
/** Of one name: a list may name one text a hundred thousand times. */
const textBytesMax = 256;
const [code, number, longNumber, reference, shortList] = codes('cilr)');
const types = { code, number, longNumber, reference, shortList };
const listTypes = codes(')([<>');
const shortTextTypes = codes('zZ');
const textTypes = codes('aAstu');
/**
 * Bytes of what has always as many: None, False, True, StopIteration, `...`, NULL, numbers of 32 and 64
 * bits, references, floats, complex numbers.
 */
const plainBytes: ReadonlyMap<number, number> = new Map([
  ...[...codes('NFTS.0')].map((type) => [type, 0] as const),
  ...[...codes('ir')].map((type) => [type, 4] as const),
  ...[...codes('gI')].map((type) => [type, 8] as const),
  ...[...codes('y')].map((type) => [type, 16] as const),
]);
/** Of a type: others refer to this object by its number. */
const referencedFlag = 0x80;

/** Numbers in front of a code object's parts, and the opcodes that matter, by magic number. */
interface CodeVersion {
  readonly magicMin: number;
  readonly numbers: number;
  readonly loadConstant: number;
  readonly importName: number;
  readonly extendedArgument: number;
}

const opcodesOf38 = { loadConstant: 100, importName: 108, extendedArgument: 144 };
/** Newest first; 3.14 numbers everything anew. */
const versions: readonly CodeVersion[] = [
  { magicMin: 3550, numbers: 5, loadConstant: 83, importName: 75, extendedArgument: 71 }, // 3.13
  { magicMin: 3450, numbers: 5, ...opcodesOf38 }, // 3.11
  { magicMin: 3400, numbers: 6, ...opcodesOf38 }, // 3.8
];
const magicMax = 3599;

interface ModuleCode {
  readonly instructions: Buffer;
  /** Where the objects begin. */
  readonly constants: readonly number[];
  readonly names: readonly number[];
}

/** The source that byte code was made of: its time and its bytes, as 32 bits each; or its hash, which is compared. */
export type CodeState = { readonly seconds: number; readonly size: number } | 'hashed';

/** Undefined where nothing is compared. @see https://peps.python.org/pep-0552/ */
export function codeState(bytes: Buffer): CodeState | undefined {
  if (bytes.length <= headerBytes) return undefined;
  const flags = bytes.readUInt32LE(4);
  if (flags & hashFlag) return flags & checkedFlag ? 'hashed' : undefined;
  return { seconds: bytes.readUInt32LE(8), size: bytes.readUInt32LE(12) };
}

/**
 * @param isMain whether it is the program's own module, whose last part runs too
 * @returns undefined for byte code of a version that is not known, or that is malformed
 */
export function importsOfCode(bytes: Buffer, isMain = false): PythonImport[] | undefined {
  if (bytes.length <= headerBytes) return undefined;
  const magic = bytes.readUInt16LE(0);
  const version = versions.find(({ magicMin }) => magic >= magicMin);
  if (!version || magic > magicMax) return undefined;
  try {
    return importsIn(new CodeReader(bytes, version), version, isMain);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Each import has its level and its list of names loaded right before it. */
function importsIn(reader: CodeReader, version: CodeVersion, isMain: boolean): PythonImport[] {
  const { instructions, constants, names } = reader.module();
  const last = isMain ? -1 : constants.findIndex((place) => reader.text(place) === mainName);
  const imports: PythonImport[] = [];
  let [level, members]: (number | undefined)[] = [];
  let high = 0;
  for (let at = 0; at + instructionBytes <= instructions.length; at += instructionBytes) {
    const opcode = instructions[at];
    const argument = high * 256 + (instructions[at + 1] ?? 0);
    high = opcode === version.extendedArgument ? argument : 0;
    if (opcode === version.loadConstant) {
      [level, members] = [members, constants[argument]];
      if (argument === last) break;
    }
    if (opcode !== version.importName) continue;
    const [name, dots] = [reader.text(names[argument]), reader.number(level)];
    if (name === undefined || dots === undefined) continue;
    imports.push({ level: dots, name, members: reader.texts(members) });
    if (imports.length >= importsMax) break;
  }
  return imports;
}

/**
 * Finds what a module's code object has at its top. All that is before it has to be passed over, which
 * is most of the file: nothing is made of that.
 */
class CodeReader {
  readonly #bytes: Buffer;
  readonly #version: CodeVersion;
  /** Where the objects begin that others refer to, by number. */
  readonly #referenced: number[] = [];
  /** Lists of texts that were read, by place. */
  readonly #lists = new Map<number, readonly string[]>();
  #at = headerBytes;
  /** Objects that may still be passed over: each of them once, and lists of names once more. */
  #passesLeft: number;

  constructor(bytes: Buffer, version: CodeVersion) {
    this.#bytes = bytes;
    this.#version = version;
    this.#passesLeft = 2 * bytes.length;
  }

  /** @throws RangeError if the bytes are no module's code */
  module(): ModuleCode {
    if (this.#type() !== types.code) throw new RangeError('no code object');
    this.#skip(4 * this.#version.numbers);
    if (!textTypes.has(this.#type())) throw new RangeError('no instructions');
    const length = this.#number();
    const from = this.#at;
    this.#skip(length);
    const instructions = this.#bytes.subarray(from, this.#at);
    return { instructions, constants: this.#items(), names: this.#items() };
  }

  /** The text that begins at a place; undefined if something else does. */
  text(at: number | undefined): string | undefined {
    const found = this.#follow(at);
    if (found === undefined) return undefined;
    const type = this.#typeAt(found);
    const isShort = shortTextTypes.has(type);
    if (!isShort && !textTypes.has(type)) return undefined;
    const start = found + (isShort ? 2 : 5);
    const length = isShort ? this.#bytes.readUInt8(found + 1) : this.#bytes.readInt32LE(found + 1);
    return this.#bytes.toString('utf8', start, start + Math.min(length, textBytesMax));
  }

  number(at: number | undefined): number | undefined {
    const found = this.#follow(at);
    if (found === undefined || this.#typeAt(found) !== types.number) return undefined;
    return this.#bytes.readInt32LE(found + 1);
  }

  /** Of a list that begins at a place, those that are texts. */
  texts(at: number | undefined): readonly string[] {
    const found = this.#follow(at);
    if (found === undefined || !listTypes.has(this.#typeAt(found))) return [];
    const known = this.#lists.get(found);
    if (known) return known;
    const references = this.#referenced.length;
    this.#at = found;
    const items = this.#items();
    this.#referenced.length = references; // they have their numbers already
    const texts = items.map((item) => this.text(item)).filter((text) => text !== undefined);
    this.#lists.set(found, texts);
    return texts;
  }

  /** Passes over a list. @returns where its items begin */
  #items(): number[] {
    const type = this.#type();
    if (!listTypes.has(type)) throw new RangeError('no list');
    const items: number[] = [];
    for (let left = this.#count(type); left > 0; left--) {
      items.push(this.#at);
      this.#pass(0);
    }
    return items;
  }

  #follow(at: number | undefined): number | undefined {
    if (at === undefined || this.#typeAt(at) !== types.reference) return at;
    return this.#referenced[this.#bytes.readInt32LE(at + 1)];
  }

  #typeAt(at: number): number {
    return this.#bytes.readUInt8(at) & ~referencedFlag;
  }

  #type(): number {
    const byte = this.#bytes.readUInt8(this.#at);
    if (byte & referencedFlag) this.#referenced.push(this.#at);
    this.#at += 1;
    return byte & ~referencedFlag;
  }

  /** Passes over one object. */
  #pass(depth: number): void {
    if (depth > depthMax) throw new RangeError('nested too deeply');
    this.#passesLeft -= 1;
    if (this.#passesLeft < 0) throw new RangeError('the same again and again');
    const type = this.#type();
    if (listTypes.has(type)) {
      for (let left = this.#count(type); left > 0; left--) this.#pass(depth + 1);
    } else if (shortTextTypes.has(type)) {
      this.#skip(this.#bytes.readUInt8(this.#at) + 1);
    } else if (textTypes.has(type)) {
      this.#skip(this.#number());
    } else if (type === types.code) {
      this.#passCode(depth);
    } else if (type === types.longNumber) {
      this.#skip(2 * Math.abs(this.#number()));
    } else {
      const bytes = plainBytes.get(type);
      if (bytes === undefined) throw new RangeError(`no object has type ${type}`);
      this.#skip(bytes);
    }
  }

  #passCode(depth: number): void {
    this.#skip(4 * this.#version.numbers);
    for (let part = 0; part < 8; part++) this.#pass(depth + 1);
    this.#skip(4); // its first line
    const tables = this.#version.numbers === 5 ? 2 : 1;
    for (let table = 0; table < tables; table++) this.#pass(depth + 1);
  }

  #count(type: number): number {
    const isShort = type === types.shortList;
    const count = isShort ? this.#bytes.readUInt8(this.#at) : this.#bytes.readInt32LE(this.#at);
    this.#skip(isShort ? 1 : 4);
    if (count < 0 || count > this.#bytes.length) throw new RangeError('too many objects');
    return count;
  }

  #number(): number {
    const number = this.#bytes.readInt32LE(this.#at);
    this.#at += 4;
    return number;
  }

  #skip(length: number): void {
    if (length < 0 || this.#at + length > this.#bytes.length) throw new RangeError('ends early');
    this.#at += length;
  }
}

function codes(types: string): Set<number> {
  return new Set([...types].map((type) => type.charCodeAt(0)));
}
