/** What both inflaters have. */
interface Inflater {
  readonly more: boolean;
  push(bytes?: Buffer): Promise<Buffer[]>;
  end(): void;
}

/** All plain bytes of `stream`, given in pieces that end at the offsets `cuts`. */
export async function inflateAll(
  inflater: Inflater,
  stream: Buffer,
  cuts: readonly number[],
): Promise<Buffer> {
  const plain: Buffer[] = [];
  const ends = [...new Set([...cuts, stream.length])].sort((a, b) => a - b);
  let start = 0;
  for (const end of ends) {
    plain.push(...(await inflater.push(stream.subarray(start, end))));
    while (inflater.more) plain.push(...(await inflater.push()));
    start = end;
  }
  inflater.end();
  return Buffer.concat(plain);
}
