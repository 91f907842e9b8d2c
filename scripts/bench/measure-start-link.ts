import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Ownership } from '../../src/daemon/ownership.js';
import { pushToRegistry } from '../../test/support/images.js';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { type Contender, type Figure, type Measurement, median, timed } from './measurement.js';
import { SlowLink } from './slow-link.js';
import { builtProgram } from './thin-node.js';

const link = { megabitsPerSecond: 100, roundTripMs: 20 };
/** What fetching everything touched may not be faster than, in round trips. */
const roundTripsMin = 4;

/** Each loads a large package. */
const programs = {
  python: ['python3', '-c', 'import numpy, sqlalchemy, lxml.etree'],
  node: [],
} as const;

const statusSchema = z.object({
  images: z.array(z.object({ fetched: z.object({ requests: z.number(), bytes: z.number() }) })),
});

interface ColdStart {
  readonly milliseconds: number;
  readonly requests: number;
  /** Compressed, of frames. */
  readonly bytes: number;
}

/** From `thin run` to its end, on a node that has nothing of the image, over a slow link. */
export function startsOverLink(name: keyof typeof programs): Measurement {
  return {
    name: `first start over a link of 100 Mbit/s and 20 ms (${name})`,
    open: async (scratch) => {
      const owned = new Ownership();
      const slow = owned.use(await SlowLink.open(scratch, link));
      const registry = owned.use(await LoopbackRegistry.open(scratch, 0, '0.0.0.0'));
      const image = await readImage(await ensureImage(name));
      for (const form of ['plain', 'thin']) {
        await pushToRegistry(image, `${registry.host}/${form}:1`);
      }
      await convert({ image: `${registry.host}/thin:1`, cache: join(scratch, 'converter') });
      const far = (form: string) => `${slow.address}:${registry.port}/${form}:1`;
      const node = new FarNode(slow, join(scratch, 'node'), programs[name]);
      const [learned, exact] = [join(scratch, 'learned'), join(scratch, 'exact')];
      await node.run(far('thin'), { prefetch: 'auto', keepHot: learned });
      await node.run(far('thin'), { prefetch: 'none', keepHot: exact });
      const starts = new Map<string, ColdStart[]>();
      const contender = (title: string, form: string, start: NodeStart): Contender => ({
        name: title,
        run: async () => {
          const cold = await node.run(far(form), start);
          starts.set(title, [...(starts.get(title) ?? []), cold]);
          return cold.milliseconds;
        },
      });
      return {
        unit: 'ms',
        contenders: [
          contender('pulled in full', 'plain', { prefetch: 'none' }),
          contender('thin, nothing ahead', 'thin', { prefetch: 'none' }),
          contender('thin, static guess', 'thin', { prefetch: 'auto' }),
          contender('thin, after one start', 'thin', { prefetch: 'auto', hot: learned }),
          contender('thin, after one start without guess', 'thin', {
            prefetch: 'auto',
            hot: exact,
          }),
        ],
        figures: async () => {
          const warm = await node.warm(far('thin'));
          return [...starts].flatMap(([title, cold]) => describe(title, cold, warm));
        },
        [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
      };
    },
  };
}

function describe(title: string, starts: readonly ColdStart[], warmMs: number): Figure[] {
  const middle = (of: (start: ColdStart) => number) => median(starts.map(of));
  const bytes = middle((start) => start.bytes);
  if (bytes === 0) return []; // pulled in full
  const lineMs = (bytes * 8) / (link.megabitsPerSecond * 1000);
  const bound = warmMs + lineMs + roundTripsMin * link.roundTripMs;
  const ratio = middle(({ milliseconds }) => milliseconds) / bound;
  return [
    { name: `${title}: fetched`, unit: 'bytes', value: bytes },
    { name: `${title}: requests`, unit: 'requests', value: middle(({ requests }) => requests) },
    { name: `${title}: the bound for these bytes`, unit: 'ms', value: bound },
    { name: `${title}: time / that bound`, unit: '', value: ratio },
  ];
}

interface NodeStart {
  readonly prefetch: 'auto' | 'none';
  /** Hot lists that it begins with. */
  readonly hot?: string;
  /** Where its hot lists are kept. */
  readonly keepHot?: string;
}

/** A node behind a link, made anew for each start. */
class FarNode {
  readonly #link: SlowLink;
  readonly #root: string;
  readonly #program: readonly string[];

  constructor(slow: SlowLink, root: string, program: readonly string[]) {
    this.#link = slow;
    this.#root = root;
    this.#program = program;
  }

  async run(reference: string, { prefetch, hot, keepHot }: NodeStart): Promise<ColdStart> {
    return this.#with(prefetch, hot, async () => {
      const milliseconds = await timed(() => this.#start(reference));
      const { stdout } = await this.#thin('status', '--json');
      const [image] = statusSchema.parse(JSON.parse(stdout)).images;
      if (!image) throw new Error(`Cannot measure ${reference}: it is not on the node`);
      if (keepHot) {
        await this.#thin('daemon', 'stop', '--force'); // what was learned is written then
        await cp(join(this.#root, 'hot'), keepHot, { recursive: true });
      }
      return { milliseconds, ...image.fetched };
    });
  }

  /** Milliseconds of a start for which all is here. */
  async warm(reference: string): Promise<number> {
    return this.#with('auto', undefined, async () => {
      await this.#start(reference);
      const times = [];
      for (let run = 0; run < 5; run++) times.push(await timed(() => this.#start(reference)));
      return median(times);
    });
  }

  async #with<T>(prefetch: string, hot: string | undefined, use: () => Promise<T>): Promise<T> {
    await rm(this.#root, { recursive: true, force: true });
    await mkdir(this.#root, { mode: 0o700 });
    if (hot) await cp(hot, join(this.#root, 'hot'), { recursive: true });
    await this.#thin('daemon', 'start', '--prefetch', prefetch, '--complete', 'never');
    try {
      return await use();
    } finally {
      await this.#thin('daemon', 'cleanup', '--force');
    }
  }

  #start(reference: string): Promise<CommandResult> {
    return this.#thin('run', '--rm', '-q', '--plain-http', reference, ...this.#program);
  }

  #thin(...words: string[]): Promise<CommandResult> {
    const thin = [process.execPath, builtProgram('src/cli/thin.js'), ...words];
    const [program = '', ...args] = this.#link.behind(thin);
    return runCommand(program, args, { env: { THINFS_ROOT: this.#root, THINFS_FREE_SPACE: '0' } });
  }
}
