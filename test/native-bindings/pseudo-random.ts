const words = 'the layer image chunk frame pack digest store tier mount file byte offset'.split(
  ' ',
);

/** `length` bytes, the same for the same seed, that compress as text and code do. */
export function pseudoRandomText(length: number, seed: number): Buffer {
  const next = generator(seed);
  const parts: string[] = [];
  for (let size = 0; size < length; size += parts.at(-1)?.length ?? 0) {
    const number = next();
    const word = words[number % words.length] ?? '';
    parts.push(number % 3 === 0 ? `${word}${(number >>> 8).toString(36)} ` : `${word} `);
  }
  return Buffer.from(parts.join('').slice(0, length), 'latin1');
}

/** `length` bytes, the same for the same seed, that do not compress. */
export function pseudoRandomBytes(length: number, seed: number): Buffer {
  const next = generator(seed);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = next() >>> 13;
  return bytes;
}

/** Mulberry32: 32-bit numbers. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}
