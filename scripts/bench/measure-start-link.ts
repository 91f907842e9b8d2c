import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isDigest } from '../../src/digest.js';
import { HotFolder } from '../../src/hot/hot-folder.js';
import { ChunkMap } from '../../src/thin/chunk-map.js';
import type { HotCommand } from '../../src/thin/hot-index.js';
import { pushToRegistry } from '../../test/support/images.js';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { type Figure, type Measurement, median, RunCosts, timed } from './measurement.js';
import { containerdClient } from './pull-clients.js';
import { type LinkOptions, type NodeLink, noLink, SlowLink } from './slow-link.js';
import { type StartName, type StartProgram, startPrograms } from './start-programs.js';
import { startTouches } from './start-touches.js';
import { builtProgram } from './thin-node.js';
import { touchedPart } from './touched-frames.js';

/** What fetching everything touched may not be faster than, in round trips. */
const roundTripsMin = 4;
/** Times that limit that a trained start may take. */
const trainedMost = 1.25;
/** Part of a hot pack that a start may leave untouched. */
const untouchedMost = 0.2;
/** The baseline. */
const fullPull = 'pulled by containerd';
/** Parts of the time of the full pull that starts may take. */
const partsMost: ReadonlyMap<string, number> = new Map([
  ['thin, static guess', 0.35],
  ['thin, trained', 0.12],
]);

const statusSchema = z.object({
  images: z.array(
    z.object({
      references: z.array(z.string()),
      fetched: z.object({ requests: z.number(), bytes: z.number() }),
    }),
  ),
});
const publishedSchema = z.object({ packBytes: z.number() });

const heldSchema = z.object({
  images: z.array(
    z.object({
      references: z.array(z.string()),
      manifest: z.string().refine(isDigest),
      chunkMapPath: z.string(),
    }),
  ),
});

interface WarmStart {
  readonly milliseconds: number;
  readonly map: ChunkMap;
  /** The only one that was published. */
  readonly command: HotCommand;
}

export interface ColdStart {
  readonly milliseconds: number;
  readonly requests: number;
  /** Compressed, of frames. */
  readonly bytes: number;
}

/**
 * From `thin run` to its end, on a node that has nothing of the image, over a slow link.
 * @param link undefined: within this machine
 */
export function startsOverLink(name: StartName, link: LinkOptions | undefined): Measurement {
  const program = startPrograms[name];
  const line = link ? `${link.megabitsPerSecond} Mbit/s and ${link.roundTripMs} ms` : 'no limit';
  return {
    name: `first start over a link of ${line} (${name})`,
    open: async (scratch, owned) => {
      const slow = link ? owned.use(await SlowLink.open(scratch, link)) : noLink;
      const registry = owned.use(await LoopbackRegistry.open(scratch, 0, '0.0.0.0'));
      await publish(program.image, registry.host, scratch);
      const far = (form: string) => `${slow.address}:${registry.port}/${form}:1`;
      const node = new FarNode(slow, join(scratch, 'node'), program);
      const packBytes = await node.train(far('trained'));
      const client = containerdClient({ folder: scratch, behind: (words) => slow.behind(words) });
      const starts = new RunCosts<ColdStart>();
      const contender = (title: string, form: string, prefetch: Prefetch) =>
        starts.contender(title, () => node.run(far(form), prefetch));
      return {
        unit: 'ms',
        contenders: [
          starts.contender(fullPull, async () => ({
            ...(await client.pull(far('plain'))),
            ...{ requests: 0, bytes: 0 },
          })),
          contender('thin, no thin form', 'plain', 'none'),
          contender('thin, nothing ahead', 'guessed', 'none'),
          contender('thin, static guess', 'guessed', 'auto'),
          contender('thin, trained', 'trained', 'auto'),
        ],
        figures: async () => {
          const { milliseconds: warm, map, command } = await node.warm(far('trained'));
          const touched = await startTouches(program, join(scratch, 'extracted'));
          const pack: Figure[] = [
            { name: 'hot pack', unit: 'bytes', value: packBytes },
            {
              ...{ name: 'hot pack: untouched', unit: '', most: untouchedMost },
              value: 1 - touchedPart(map, command, touched),
            },
          ];
          const described = [...starts].flatMap(([title, cold]) =>
            describe(title, cold, warm, packBytes, link),
          );
          const parts = [...partsMost].map(([title, most]) => ({
            ...{ name: `${title}: time / ${fullPull}`, unit: '', most: link ? most : 1 },
            value: middleTime(starts.of(title)) / middleTime(starts.of(fullPull)),
          }));
          const known = parts.filter(({ value }) => !Number.isNaN(value)); // --only may leave one out
          return [{ name: 'warm start', unit: 'ms', value: warm }, ...pack, ...known, ...described];
        },
      };
    },
  };
}

/** As it is, thin, and thin for a node to train: what is published of one is found by its digest. */
async function publish(name: ImageName, host: string, scratch: string): Promise<void> {
  const image = await readImage(await ensureImage(name));
  for (const form of ['plain', 'guessed', 'trained']) {
    await pushToRegistry(image, `${host}/${form}:1`);
    if (form === 'plain') continue;
    await convert({ image: `${host}/${form}:1`, cache: join(scratch, `converter-${form}`) });
  }
}

function describe(
  title: string,
  starts: readonly ColdStart[],
  warmMs: number,
  packBytes: number,
  link: LinkOptions | undefined,
): Figure[] {
  const middle = (of: (start: ColdStart) => number) => median(starts.map(of));
  const bytes = middle((start) => start.bytes);
  if (bytes === 0) return []; // pulled in full
  const figures = [
    { name: `${title}: fetched`, unit: 'bytes', value: bytes },
    { name: `${title}: requests`, unit: 'requests', value: middle(({ requests }) => requests) },
  ];
  if (title !== 'thin, trained' || !link) return figures;
  const lineMs = (packBytes * 8) / (link.megabitsPerSecond * 1000);
  const bound = warmMs + lineMs + roundTripsMin * link.roundTripMs;
  const ratio = middleTime(starts) / bound;
  return [
    ...figures,
    { name: `${title}: the limit`, unit: 'ms', value: bound },
    { name: `${title}: time / that limit`, unit: '', value: ratio, most: trainedMost },
  ];
}

function middleTime(starts: readonly ColdStart[]): number {
  return median(starts.map(({ milliseconds }) => milliseconds));
}

type Prefetch = 'auto' | 'none';

/** A node behind a link, made anew for each start. */
export class FarNode {
  readonly #link: NodeLink;
  readonly #root: string;
  readonly #program: StartProgram;

  constructor(slow: NodeLink, root: string, program: StartProgram) {
    this.#link = slow;
    this.#root = root;
    this.#program = program;
  }

  async run(reference: string, prefetch: Prefetch): Promise<ColdStart> {
    return this.#with(prefetch, async () => {
      const milliseconds = await timed(() => this.#start(reference));
      const { stdout } = await this.#thin('status', '--json');
      const [image] = statusSchema.parse(JSON.parse(stdout)).images;
      if (!image) throw new Error(`Cannot measure ${reference}: it is not on the node`);
      return { milliseconds, ...image.fetched };
    });
  }

  /** What starts of images fetch, one after the other on one node. */
  async runAll(references: readonly string[]): Promise<ColdStart[]> {
    return this.#with('auto', async () => {
      const starts: ColdStart[] = [];
      for (const reference of references) {
        const milliseconds = await timed(() => this.#start(reference));
        const { stdout } = await this.#thin('status', '--json');
        const { images } = statusSchema.parse(JSON.parse(stdout));
        const image = images.find((one) => one.references.includes(reference));
        if (!image) throw new Error(`Cannot measure ${reference}: it is not on the node`);
        starts.push({ milliseconds, ...image.fetched });
      }
      return starts;
    });
  }

  /** What one start reads is published. @returns bytes of the hot pack */
  async train(reference: string): Promise<number> {
    return this.#with('none', async () => {
      await this.#start(reference);
      await this.#thin('daemon', 'stop', '--force'); // what was learned is written then
      const publish = ['hot', 'publish', '--json', '--plain-http', reference];
      const { stdout } = await this.#thin(...publish);
      return publishedSchema.parse(JSON.parse(stdout)).packBytes;
    });
  }

  /** Of a start for which all is here, and what was brought for it before. */
  async warm(reference: string): Promise<WarmStart> {
    return this.#with('auto', async () => {
      await this.#start(reference);
      const times = [];
      for (let run = 0; run < 3; run++) times.push(await timed(() => this.#start(reference)));
      return { milliseconds: median(times), ...(await this.#hotPack(reference)) };
    });
  }

  async #hotPack(reference: string): Promise<Omit<WarmStart, 'milliseconds'>> {
    const { stdout } = await this.#thin('status', '--json');
    const { images } = heldSchema.parse(JSON.parse(stdout));
    const image = images.find((one) => one.references.includes(reference));
    const index = image && (await new HotFolder(this.#root).published(image.manifest));
    const command = index?.commands.at(-1);
    if (!image || !command) throw new Error(`Cannot find a hot pack of ${reference}`);
    return { map: ChunkMap.parse(await readFile(image.chunkMapPath)), command };
  }

  async #with<T>(prefetch: Prefetch, use: () => Promise<T>): Promise<T> {
    await rm(this.#root, { recursive: true, force: true });
    await mkdir(this.#root, { mode: 0o700 });
    await this.#thin('daemon', 'start', '--prefetch', prefetch, '--complete', 'never');
    try {
      return await use();
    } finally {
      await this.#thin('daemon', 'cleanup', '--force');
    }
  }

  #start(reference: string): Promise<CommandResult> {
    const { words, entrypoint } = this.#program;
    const over = entrypoint === undefined ? [] : ['--entrypoint', entrypoint];
    return this.#thin('run', '--rm', '-q', '--plain-http', ...over, reference, ...words);
  }

  #thin(...words: string[]): Promise<CommandResult> {
    const thin = [process.execPath, builtProgram('src/cli/thin.js'), ...words];
    const [program = '', ...args] = this.#link.behind(thin);
    return runCommand(program, args, { env: { THINFS_ROOT: this.#root, THINFS_FREE_SPACE: '0' } });
  }
}
