import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '../../src/errors.js';
import { runCommand } from '../../test/support/run-command.js';
import { LoopbackRegistry } from '../bench/loopback-registry.js';
import { builtProgram } from '../bench/thin-node.js';
import type { SeededRandom } from './seeded-random.js';
import { copyPrograms, type NodeSettings, SoakNode } from './soak-node.js';
import { SoakReader } from './soak-reader.js';
import { makeSoakTree } from './soak-tree.js';

/** What all scenarios of a run have in common: an image in a registry, and what it is made of. */
export interface SoakSite {
  readonly image: string;
  /** The image's tree on the host. */
  readonly known: string;
  registry: LoopbackRegistry;
  readonly registryFolder: string;
  /** `thin` in two versions. */
  readonly programs: readonly [string, string];
}

/** @param folder empty */
export async function openSite(folder: string): Promise<SoakSite> {
  const [known, registryFolder] = [join(folder, 'tree'), join(folder, 'registry')];
  await makeSoakTree(known);
  await mkdir(registryFolder);
  const registry = await LoopbackRegistry.open(registryFolder);
  const image = `${registry.host}/soak:1`;
  const thinify = builtProgram('converter/thinify.js');
  await runCommand(process.execPath, [thinify, '-q', `dir:${known}`, '--name', image]);
  const other = await copyPrograms(join(folder, 'other-version'), '9.8.7');
  return {
    image,
    known,
    registry,
    registryFolder,
    programs: [builtProgram('src/cli/thin.js'), other],
  };
}

/** Milliseconds since 1970. */
interface Window {
  readonly from: number;
  to: number;
}

export interface RigOptions {
  readonly site: SoakSite;
  /** A disk of its own, which may be filled. */
  readonly disk: string;
  /** A folder elsewhere, for what the container says. */
  readonly out: string;
  readonly settings: NodeSettings;
  readonly random: SeededRandom;
  readonly seed: number;
  readonly workers: number;
  /** Milliseconds. */
  readonly outageMax: number;
  /** Told of everything that is done. */
  readonly tell: (text: string) => void;
}

/** A node under a container that reads, and everything that may be done to it. */
export class SoakRig {
  readonly site: SoakSite;
  readonly disk: string;
  readonly node: SoakNode;
  readonly random: SeededRandom;
  readonly outageMax: number;
  readonly tell: (text: string) => void;
  readonly #options: RigOptions;
  /** When wrong bytes could not be helped: files were changed, and no daemon ran. */
  readonly #changed: Window[] = [];
  #reader: SoakReader | undefined;

  constructor(options: RigOptions) {
    this.#options = options;
    this.site = options.site;
    this.disk = options.disk;
    this.node = new SoakNode(join(options.disk, 'state'), options.settings);
    this.random = options.random;
    this.outageMax = options.outageMax;
    this.tell = options.tell;
  }

  /** @throws Error if no container can be started */
  async begin(): Promise<void> {
    const { site, out, seed, workers } = this.#options;
    const { image, known } = site;
    this.#reader = await SoakReader.start(this.node, { image, known, out, seed, workers });
  }

  get reader(): SoakReader {
    if (this.#reader) return this.#reader;
    throw new Error('Cannot use the reader: the rig has not begun');
  }

  /** What is read until `work` has ended may be wrong. */
  async whileChanged<T>(work: () => Promise<T>): Promise<T> {
    const window = { from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#changed.push(window);
    try {
      return await work();
    } finally {
      // What was being read goes on to be what it was.
      window.to = Date.now() + 2_000;
    }
  }

  /** @param at milliseconds since 1970 */
  isChanged(at: number): boolean {
    return this.#changed.some(({ from, to }) => from <= at && at <= to);
  }

  async stopRegistry(): Promise<void> {
    await this.site.registry[Symbol.asyncDispose]();
  }

  async startRegistry(): Promise<void> {
    const { registryFolder, registry } = this.site;
    this.site.registry = await LoopbackRegistry.open(registryFolder, registry.port);
  }

  /** What the daemon has warned of, but for the files that a fault has changed. */
  async warnings(): Promise<string[]> {
    const log = await readFile(join(this.node.root, 'daemon.log'), 'utf8').catch(() => '');
    const warnings = log.split('\n').filter((line) => /"level":[456]0/.test(line));
    return warnings.filter((line) => !line.includes('"content"'));
  }

  /** @returns what is left of the node, for people */
  async end(): Promise<string[]> {
    if (this.#reader?.isRunning) this.#reader.kill();
    try {
      return await this.node.end();
    } catch (error) {
      return [describeError(error)];
    }
  }
}
