/**
 * A name of a file system: any bytes but NUL, held as a string in which each UTF-16 unit is one byte
 * (ISO 8859-1). Names are no text: two names that differ in bytes must stay different, and V8 keeps
 * such strings in one byte a character, compares them in byte order and hashes them for `Map`.
 */
export type ByteString = string & { readonly brand: 'ByteString' };

export const emptyByteString = '' as ByteString;

export function byteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
    'latin1',
  ) as ByteString;
}

/** From ordinary text (a command-line argument, a literal), as UTF-8 bytes. */
export function byteStringFromText(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1') as ByteString;
}

export function byteStringToBuffer(name: ByteString): Buffer {
  return Buffer.from(name, 'latin1');
}

/** For people: UTF-8 where it is valid, `\xNN` and the usual escapes for everything else. */
export function displayByteString(name: ByteString): string {
  const bytes = byteStringToBuffer(name);
  const text = bytes.toString('utf8');
  const faithful = !text.includes('\ufffd') || Buffer.from(text, 'utf8').equals(bytes);
  const escaped = (unit: string): string => shortEscapes[unit] ?? hexEscape(unit);
  return faithful ? text.replace(control, escaped) : name.replace(controlOrHigh, escaped);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what is escaped here
const control = /[\x00-\x1f\x7f\\]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what is escaped here
const controlOrHigh = /[\x00-\x1f\x7f-\xff\\]/g;

const shortEscapes: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\t': '\\t',
  '\r': '\\r',
  '\\': '\\\\',
};

function hexEscape(unit: string): string {
  return `\\x${unit.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
