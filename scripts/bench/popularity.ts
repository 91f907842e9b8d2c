/**
 * What is asked for by how many: popularity falls with rank to a power (Zipf). With this one the most
 * popular hundredth of ten thousand blobs has 41 % of the requests; in the registries of Anwar et al.
 * (FAST 2018) it is 42 % in Dallas and 59 % in Sydney.
 */
export const popularityExponent = 0.9;
const exponentMax = 3;
/** Halvings of what is not known of an exponent: to a millionth. */
const halvings = 22;

/** The power with which the most popular hundredth of `count` has this share of the requests. */
export function exponentFor(topShare: number, count: number): number {
  let [low, high] = [0, exponentMax];
  for (let step = 0; step < halvings; step++) {
    const middle = (low + high) / 2;
    if (topShareOf(middle, count) < topShare) low = middle;
    else high = middle;
  }
  return low;
}

function topShareOf(exponent: number, count: number): number {
  const top = Math.max(1, Math.round(count / 100));
  let [sum, topSum] = [0, 0];
  for (let rank = 1; rank <= count; rank++) {
    sum += rank ** -exponent;
    if (rank === top) topSum = sum;
  }
  return topSum / sum;
}

/** Numbers in [0, 1) that a seed decides (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Ranks from 0 to `count` - 1, the first the most popular. */
export function popularRanks(
  count: number,
  random: () => number,
  exponent = popularityExponent,
): () => number {
  const below: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= count; rank++) {
    sum += rank ** -exponent;
    below.push(sum);
  }
  return () => firstAbove(below, random() * sum);
}

function firstAbove(ascending: readonly number[], value: number): number {
  let [low, high] = [0, ascending.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] ?? 0) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
