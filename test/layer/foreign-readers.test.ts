import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { extract } from 'tar-stream';
import { z } from 'zod';
import { type Digest, digestOf } from '../../src/digest.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { compareTrees, describeDifferences, snapshotTree } from '../support/compare-trees.js';
import { runCommand } from '../support/run-command.js';
import { readRecord } from './read-records.js';
import { snapshotOfTree } from './tree-snapshot.js';

/**
 * What GNU tar, bsdtar and Python write in all their formats is read by us and by four others. They
 * have to agree on every byte: readers that disagree are how files are smuggled past each other.
 */
const gnuFormats = ['v7', 'ustar', 'oldgnu', 'gnu'].map((format) => ({
  name: `GNU tar, ${format}`,
  command: ['tar', `--format=${format}`, ...(format.endsWith('gnu') ? ['--sparse'] : [])],
}));
const paxFormats = ['0.0', '0.1', '1.0'].map((version) => ({
  name: `GNU tar, posix, sparse files of form ${version}`,
  command: [
    'tar',
    '--format=posix',
    '--sparse',
    `--sparse-version=${version}`,
    '--xattrs',
    '--xattrs-include=*',
  ],
}));
const bsdFormats = ['v7tar', 'ustar', 'pax', 'gnutar'].map((format) => ({
  name: `bsdtar, ${format}`,
  command: ['bsdtar', `--format=${format}`],
}));
const tars = [...gnuFormats, ...paxFormats, ...bsdFormats];
const pythonFormats = ['ustar', 'gnu', 'pax'];

function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-tar-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function readOurs(archive: string) {
  const bytes = await readFile(archive);
  const contents = new Map<Digest, Buffer>();
  const record = await readRecord([bytes], contents);
  return { entries: record.entries, tree: snapshotOfTree(mergeLayers([record])) };
}

/** Programs that extract, so that what is compared is what the kernel then has. */
const extractors = {
  'GNU tar': [
    'tar',
    '--delay-directory-restore',
    '--numeric-owner',
    '--xattrs',
    '--xattrs-include=*',
    '-xpf',
  ],
  bsdtar: ['bsdtar', '--numeric-owner', '-xpf'],
};

async function checkExtraction(t: Test, archive: string, folder: string): Promise<void> {
  const { tree } = await readOurs(archive);
  for (const [name, [program = '', ...flags]] of Object.entries(extractors)) {
    const root = join(folder, name);
    await mkdir(root);
    // bsdtar complains about names that are no UTF-8, and extracts them.
    await runCommand(program, [...flags, archive, '-C', root], { mayFail: program === 'bsdtar' });
    // bsdtar leaves the folder that it extracts into as it is.
    const differences = compareTrees(await snapshotTree(root), tree).filter(
      ({ path }) => program !== 'bsdtar' || path !== '',
    );
    t.equal(describeDifferences(differences), '', `${name} agrees`);
  }
}

const pythonEntry = z.object({
  path: z.string(),
  type: z.string(),
  uid: z.number(),
  gid: z.number(),
  mode: z.number(),
  size: z.number().optional(),
  content: z.string().optional(),
  target: z.string().optional(),
  device: z.array(z.number()).optional(),
});

function asPythonSees(entry: LayerEntry): z.infer<typeof pythonEntry> {
  const { path, type, uid, gid, mode } = entry;
  return {
    path,
    type,
    uid,
    gid,
    mode,
    ...(entry.type === 'file' && { size: entry.size, content: entry.content }),
    ...('target' in entry && { target: entry.target }),
    ...('device' in entry && { device: [entry.device.major, entry.device.minor] }),
  };
}

/** Python and tar-stream leave `./` where it is, and give symlinks the mode of the header. */
function normalised<
  E extends { path: string; type: string; mode: number; target?: string | undefined },
>(entry: E): E {
  const path = entry.path.replace(/^\.(\/|$)/, '').replace(/\/$/, '');
  if (entry.type === 'symlink') return { ...entry, path, mode: 0o777 };
  if (entry.type !== 'hardlink') return { ...entry, path };
  return { ...entry, path, target: entry.target?.replace(/^\.\//, '') };
}

async function checkPython(t: Test, archive: string): Promise<void> {
  const { entries } = await readOurs(archive);
  const list = await runCommand('python3', [script('list-with-python.py')], {
    input: await readFile(archive),
  });
  const theirs = z.array(pythonEntry).parse(JSON.parse(list.stdout));
  t.strictSame(entries.map(asPythonSees), theirs.map(normalised), 'Python agrees');
}

/** tar-stream takes names for UTF-8, ignores ids in PAX, and knows no sparse files. */
const unknownToTarStream = /sparse|hole|names|ids/i;

/** Headers without a magic, and the extension blocks of sparse files in the old GNU form. */
const refusedByTarStream = /v7|GNU tar, (old)?gnu/;

async function checkTarStream(t: Test, archive: string): Promise<void> {
  const { entries } = await readOurs(archive);
  const theirs: object[] = [];
  const reader = extract();
  const reading = pipeline(createReadStream(archive), reader);
  // Its error is that of the loop below too.
  reading.catch(() => {});
  for await (const entry of reader) {
    const { name, type, uid, gid, mode } = entry.header;
    const content = await buffer(entry);
    if (type !== 'file' || unknownToTarStream.test(name)) continue;
    theirs.push(
      normalised({
        path: name,
        type,
        uid: uid ?? 0,
        gid: gid ?? 0,
        mode: mode ?? 0,
        size: content.length,
        content: digestOf(content),
      }),
    );
  }
  await reading;
  const ours = entries.filter(
    ({ path, type }) => type === 'file' && !unknownToTarStream.test(path),
  );
  t.strictSame(ours.map(asPythonSees), theirs, 'tar-stream agrees');
}

t.test('archives of a folder of odd things', async (t) => {
  const folder = await temporaryFolder(t);
  const odd = join(folder, 'odd');
  await mkdir(odd);
  await runCommand('python3', [script('make-odd-folder.py'), odd]);

  for (const { name, command } of tars) {
    const [program = '', ...flags] = command;
    await t.test(name, async (t) => {
      const work = await temporaryFolder(t);
      const archive = join(work, 'archive.tar');
      // What a format cannot hold is left out by its writer, with a complaint.
      const args = [...flags, '--numeric-owner', '-cf', archive, '-C', odd, '.'];
      await runCommand(program, args, { mayFail: true });
      await checkExtraction(t, archive, work);
      await checkPython(t, archive);
      if (!refusedByTarStream.test(name)) await checkTarStream(t, archive);
    });
  }

  for (const format of pythonFormats) {
    await t.test(`Python, ${format}`, async (t) => {
      const work = await temporaryFolder(t);
      const archive = join(work, 'archive.tar');
      await runCommand('python3', [script('pack-with-python.py'), format, odd, archive]);
      await checkExtraction(t, archive, work);
      await checkPython(t, archive);
      await checkTarStream(t, archive);
    });
  }
});
