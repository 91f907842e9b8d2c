import t from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import { FirstUses } from '../../src/fuse/first-uses.js';

function content(at: number): Digest {
  return digestOf(Buffer.from(`${at}`));
}

t.test(
  'tells at once, then at most once a second or for 64 files, and the rest at the end',
  async (t) => {
    let now = 5_000;
    const told: number[] = [];
    const uses = new FirstUses(
      (contents) => told.push(contents.length),
      () => now,
    );
    uses.add(content(0));
    t.strictSame(told, [1]);
    for (let at = 1; at <= 70; at++) uses.add(content(at));
    t.strictSame(told, [1, 64]);
    now += 1_000;
    uses.add(content(71));
    t.strictSame(told, [1, 64, 7]);
    uses.add(content(72));
    uses.flush();
    uses.flush();
    t.strictSame(told, [1, 64, 7, 1]);
  },
);
