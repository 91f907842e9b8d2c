import { createHash } from 'node:crypto';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import type { PointOfPresence } from '../../src/pop/point-of-presence.js';
import type { ByteRange } from '../../src/pop/pop-layers.js';
import { pseudoRandom } from '../cli/small-rootfs.js';
import { until } from './site.js';
import { alive, openTestSite } from './test-site.js';

const never = new AbortController().signal;
const { join1 } = await openTestSite(t);

/** Where layers come from; counts the bytes that it gives. */
class Registry {
  given = 0;
  ranges = true;
  wrongAt: number | undefined;

  layerOf(site: PointOfPresence, plain: Buffer) {
    const blob = { digest: digestOf(plain), size: plain.length };
    const knowsRanges = () => this.ranges;
    const open = (_signal: AbortSignal, range: ByteRange) => this.#open(plain, range);
    return site.layer({ blob, open, knowsRanges });
  }

  async *#open(plain: Buffer, { offset, length }: ByteRange): AsyncGenerator<Buffer> {
    for (let at = offset; at < offset + length; at += 65_536) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const bytes = Buffer.from(plain.subarray(at, Math.min(at + 65_536, offset + length)));
      if (this.wrongAt !== undefined && at <= this.wrongAt && this.wrongAt < at + bytes.length) {
        bytes[this.wrongAt - at] = 255 - (bytes[this.wrongAt - at] ?? 0);
      }
      this.given += bytes.length;
      yield bytes;
    }
  }
}

type Layer = ReturnType<Registry['layerOf']>;

async function sumOf(layer: Layer, offset: number, length: number): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of layer.open(never, { offset, length })) hash.update(bytes);
  return hash.digest('hex');
}

function sum(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

t.test('nodes that pull at once fetch a layer once, and later ones not at all', async (t) => {
  const one = await join1(t, 'one');
  const two = await join1(t, 'two', { members: 2 });
  await until(() => alive(one) === 2);
  const plain = pseudoRandom('layer', 9_000_001);
  const registry = new Registry();
  const layers = [one, two].map((site) => registry.layerOf(site, plain));
  const sums = await Promise.all(layers.map((layer) => sumOf(layer, 0, plain.length)));
  t.same(sums, [sum(plain), sum(plain)]);
  // Where the machine is busy, some wait for Redis in vain, and say so.
  const alone = () => [one, two].reduce((sum, site) => sum + site.report().counts.alone.bytes, 0);
  t.ok(registry.given <= plain.length + alone(), `${registry.given} bytes, ${alone()} alone`);
  await until(() => [one, two].reduce((n, site) => n + site.report().shelf.frames, 0) >= 18);

  const before = registry.given - alone();
  const late = registry.layerOf(two, plain);
  t.equal(await sumOf(late, 3_000_000, 2_500_001), sum(plain.subarray(3_000_000, 5_500_001)));
  t.equal(await sumOf(late, 8_999_999, 2), sum(plain.subarray(8_999_999)), 'its end');
  t.equal(registry.given - alone(), before, 'a part of it, from the site');
});

t.test('what is wrong is fetched anew from the registry, and leaves the site', async (t) => {
  const first = await join1(t, 'first');
  const second = await join1(t, 'second', { members: 2 });
  await until(() => [first, second].every((site) => alive(site) === 2)); // those of before are gone
  const plain = pseudoRandom('wrong', 3_000_000);
  const registry = new Registry();
  registry.wrongAt = 2_000_000;
  t.not(await sumOf(registry.layerOf(first, plain), 0, plain.length), sum(plain));
  const kept = () => [first, second].reduce((n, site) => n + site.report().shelf.frames, 0);
  await until(() => kept() >= 6);
  registry.wrongAt = undefined;
  const layer = registry.layerOf(second, plain);
  t.not(await sumOf(layer, 0, plain.length), sum(plain), 'the site has it as it came');
  t.equal(await sumOf(layer, 0, plain.length), sum(plain), 'who begins anew gets it right');
  t.equal(kept(), 0, 'and it is nowhere');
  const third = await join1(t, 'third', { members: 3 });
  t.equal(await sumOf(registry.layerOf(third, plain), 0, plain.length), sum(plain));
});

t.test('a registry that gives no parts is read from beginning to end', async (t) => {
  const alone = await join1(t, 'alone');
  const plain = pseudoRandom('whole', 3_000_000);
  const registry = new Registry();
  registry.ranges = false;
  t.equal(await sumOf(registry.layerOf(alone, plain), 0, plain.length), sum(plain));
  t.equal(alone.report().counts.origin.frames, 0);
});
