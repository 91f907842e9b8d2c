import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { mountComposed } from '../../src/mount/composed-mount.js';
import { mountMetadata, unmountMetadata } from '../../src/mount/metadata-mount.js';
import { runCommand } from '../../test/support/run-command.js';
import { ensureImage } from '../images/image-cache.js';
import { type LayoutImage, readImage } from '../images/image-manifest.js';
import { splitImage } from '../split-image.js';
import { mountLayered } from './layered-overlay.js';
import { type Contender, type Figure, type Measurement, measure } from './measurement.js';

/** What is done with a tree, and how often in one run, so that a run takes some 100 ms. */
interface Workload {
  readonly name: string;
  /** Of everyday-reads.c. */
  readonly program: string;
  readonly passes: number;
  readonly cold?: boolean;
  /** Of the times, composed mount to overlayfs. */
  readonly most: number;
}

const warm = { most: 1.05 };
const workloads: readonly Workload[] = [
  { name: 'find', program: 'find', passes: 15, ...warm },
  { name: 'stat of every path', program: 'stat', passes: 15, ...warm },
  { name: 'open, read, close, 20 000 times', program: 'open', passes: 9, ...warm },
  { name: 'the largest file, 1 MiB at a time', program: 'sequential', passes: 61, ...warm },
  { name: '4 KiB at random, 20 000 times', program: 'random', passes: 15, ...warm },
  { name: 'exec of /bin/true, 50 times', program: 'exec', passes: 7, ...warm },
  { name: "python3 -c 'import …'", program: 'python', passes: 5, ...warm },
  { name: '2000 files, whole', program: 'files', passes: 25, ...warm },
  { name: 'find, nothing in memory', program: 'find', passes: 1, cold: true, most: 0.6 },
];

/** More than other measurements have: limits of 5 % want steady medians. */
const rounds = 11;
const client = fileURLToPath(new URL('./everyday-reads.c', import.meta.url));

/** What of a tree the workloads use: everything in it, and its largest file. */
interface TreePaths {
  /** Each with a NUL behind it. */
  readonly all: string;
  readonly largest: string;
}

/** The composed mount with all files here, and overlayfs on the layers extracted to the same disk. */
export function composedAgainstOverlay(): Measurement {
  return {
    name: 'composed mount against overlayfs, all files here (python)',
    open: async (scratch, owned) => {
      const image = await readImage(await ensureImage('python'));
      const [layered, composed] = [join(scratch, 'layered'), join(scratch, 'composed')];
      const metadata = join(scratch, 'metadata');
      const program = join(scratch, 'everyday-reads');
      await runCommand('cc', ['-O2', '-o', program, client]);
      const finallyDo = (undo: () => Promise<unknown>) =>
        owned.use({ [Symbol.asyncDispose]: async () => void (await undo()) });
      finallyDo(() => detachPath(layered));
      await mountLayered(image, join(scratch, 'layers'), layered);
      finallyDo(() => unmountMetadata(metadata));
      finallyDo(() => detachPath(composed));
      await compose(image, scratch, metadata, composed);
      const paths = await listTree(composed);
      const contender = (workload: Workload, name: string, root: string): Contender => ({
        name,
        run: () => runWorkload(program, workload, root, paths),
      });
      return {
        unit: 'ms',
        contenders: [],
        figures: async () => {
          const figures: Figure[] = [];
          for (const workload of workloads) {
            figures.push(
              ...(await compare(workload, [
                contender(workload, 'overlayfs', layered),
                contender(workload, 'composed', composed),
              ])),
            );
          }
          return figures;
        },
      };
    },
  };
}

async function compose(image: LayoutImage, folder: string, metadata: string, target: string) {
  const [tier, file] = [join(folder, 'tier'), join(folder, 'metadata.erofs')];
  await writeFile(file, writeErofs(await splitImage(image, tier)));
  await mkdir(metadata);
  await mountMetadata({ image: file, mountPoint: metadata });
  const changes = { upper: join(folder, 'upper'), work: join(folder, 'work') };
  await mountComposed({ metadata, data: [tier], target, changes });
}

/** In an order that is the same for both trees. */
async function listTree(root: string): Promise<TreePaths> {
  const list = async (format: string): Promise<string[]> => {
    const { stdout } = await runCommand('find', [root, '-mindepth', '1', '-printf', format]);
    return stdout.split('\0').slice(0, -1).sort();
  };
  const sizes = (await list('%s %y %P\\0')).flatMap((line) => {
    const [size = '', type = '', ...path] = line.split(' ');
    return type === 'f' ? [{ size: Number(size), path: path.join(' ') }] : [];
  });
  const largest = sizes.reduce((most, file) => (file.size > most.size ? file : most));
  const all = await list('%P\\0');
  return { all: all.map((path) => `${path}\0`).join(''), largest: largest.path };
}

async function runWorkload(
  program: string,
  workload: Workload,
  root: string,
  paths: TreePaths,
): Promise<number> {
  if (workload.cold) {
    await runCommand('sync', []);
    await writeFile('/proc/sys/vm/drop_caches', '3');
  }
  const words = [workload.program, root, `${workload.passes}`, paths.largest];
  const { stdout } = await runCommand(program, words, { input: paths.all });
  return Number(stdout);
}

async function compare(workload: Workload, contenders: readonly Contender[]): Promise<Figure[]> {
  const { name, most } = workload;
  const result = await measure({ unit: 'ms', contenders }, name, rounds);
  const [baseline, composed] = result.contenders;
  return [
    { name: `${name}: overlayfs`, unit: 'ms', value: baseline?.median ?? Number.NaN },
    { name: `${name}: composed`, unit: 'ms', value: composed?.median ?? Number.NaN },
    { name: `${name}: ratio`, unit: 'times', value: composed?.ratio ?? Number.NaN, most },
  ];
}
