/**
 * Writes a string of one byte a character at `at`. Node 20 writes nothing when it is left to find
 * out that more than 2 GiB of the buffer are behind `at`: the length must be said.
 */
export function writeLatin1(out: Buffer, text: string, at: number): void {
  out.write(text, at, text.length, 'latin1');
}
