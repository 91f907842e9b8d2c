import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../test/support/run-command.js';
import type { SoakRig } from './soak-rig.js';

/** Something that happens to a node; resolves when the worst is over. Throws if it should not be so. */
export type Fault = (rig: SoakRig) => Promise<void>;

/** Bits turned round at a time, in as many files at most. */
const flipsMax = 40;

/**
 * `kill -9` of the server; the holder starts another. Now and then also of one that only starts: not
 * more often, as ten in a row are a crash loop, in which the holder takes its time.
 */
export const killServer: Fault = async (rig) => {
  if (rig.random.next() < 0.8) await rig.node.serving();
  const killed = await rig.node.killServer();
  rig.tell(killed ? 'server killed' : 'no server to kill');
};

/** `kill -9` of the holder; the server starts another. */
export const killHolder: Fault = async (rig) => {
  await rig.node.serving();
  await rig.node.killHolder();
  rig.tell('holder killed');
};

/** `thin daemon restart`, each time with the other version. */
export const upgrade: Fault = async (rig) => {
  const [one, other] = rig.site.programs;
  rig.node.program = rig.node.program === one ? other : one;
  await rig.node.must('daemon', 'restart');
  rig.tell('restarted with the other version');
};

/** `thin daemon stop`, and a start a while later. */
export const stopAndStart: Fault = async (rig) => {
  await rig.node.must('daemon', 'stop');
  await delay(rig.random.integer(0, 1_500));
  await rig.node.must('daemon', 'start');
  rig.tell('stopped and started');
};

/** No registry for a while. */
export const outage: Fault = async (rig) => {
  const ms = rig.random.integer(rig.outageMax / 4, rig.outageMax);
  await rig.stopRegistry();
  rig.tell(`no registry for ${ms} ms`);
  await delay(ms);
  await rig.startRegistry();
};

/** Another file takes all that is free on the disk of the node's state, for a while. */
export const fillDisk: Fault = async (rig) => {
  const ballast = join(rig.disk, 'ballast');
  const left = rig.random.integer(0, 2) * 65_536;
  // The node takes what is free at the same time.
  for (let attempt = 1; attempt <= 3; attempt++) {
    const { bavail, bsize } = await statfs(rig.disk);
    const size = await stat(ballast).then(({ size }) => size, nothingThere);
    const length = `${size + bavail * bsize - left}`;
    await runCommand('fallocate', ['--length', length, ballast], { mayFail: true });
  }
  rig.tell(`disk filled but for ${left} bytes`);
  await delay(rig.random.integer(500, 3_000));
  await rm(ballast, { force: true });
};

const nothingThere = (): number => 0;

/** A container beside the one that reads must start, whatever goes on. */
export const anotherContainer: Fault = async (rig) => {
  const words = ['python3', '-I', '-B', '-c', 'import json; print(json.dumps([1]))'];
  const output = await rig.node.must('run', '--rm', '-q', rig.site.image, ...words);
  if (output !== '[1]\n') throw new Error(`a container printed ${JSON.stringify(output)}`);
  rig.tell('another container ran');
};

/** What nothing has mounted goes; what is mounted must not. */
export const collectGarbage: Fault = async (rig) => {
  await rig.node.must('gc', '--all');
  rig.tell('garbage collected');
};

/**
 * Bits of files turned round while no server runs. Half of the times the container reads meanwhile:
 * the kernel takes complete files from their tier, and nobody is there to verify them, so that wrong
 * bytes are to be expected until the server is back, and none after that.
 */
export const flipBits: Fault = async (rig) => {
  const isPaused = rig.random.next() < 0.5;
  if (isPaused) await rig.reader.pause();
  await rig.node.must('daemon', 'stop');
  await rig.whileChanged(async () => {
    const flipped = await flipSome(rig);
    rig.tell(`${flipped} files changed while readers ${isPaused ? 'paused' : 'read on'}`);
    await rig.node.must('daemon', 'start');
  });
  if (isPaused) await rig.reader.resume();
};

async function flipSome(rig: SoakRig): Promise<number> {
  const spared = await runningFiles(rig.site.known);
  const state = rig.node.root;
  const tier = join(state, 'tiers/local');
  const complete = (await readdir(tier, { recursive: true }))
    .filter((path) => /^..\/[0-9a-f]{64}$/.test(path) && !spared.has(path.slice(3)))
    .map((path) => join(tier, path));
  const partial = (await readdir(join(state, 'partial'))).map((n) => join(state, 'partial', n));
  const paths = [...complete.sort(), ...partial.sort()];
  const chosen = new Set<string>();
  for (let n = 0; n < flipsMax && paths.length > 0; n++) chosen.add(rig.random.pick(paths));
  for (const path of chosen) await flipBit(path, rig.random.next());
  return chosen.size;
}

/** @param at where in the file, from 0 to 1 */
async function flipBit(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    if (size === 0) return;
    const offset = Math.floor(at * size);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, offset);
    byte.writeUInt8(byte.readUInt8() ^ (1 << (offset % 8)));
    await file.write(byte, 0, 1, offset);
  } finally {
    await file.close();
  }
}

/** Digests of what the reader's own program has mapped all the time: it would crash, as it should. */
async function runningFiles(known: string): Promise<Set<string>> {
  const digests = new Set<string>();
  for (const path of await readdir(join(known, 'usr'), { recursive: true })) {
    const file = join(known, 'usr', path);
    if (!(await stat(file)).isFile()) continue;
    const content = await readFile(file);
    digests.add(createHash('sha256').update(content).digest('hex'));
  }
  return digests;
}
