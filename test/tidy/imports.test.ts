import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

/**
 * Who may import whom (DESIGN.md section 9): a folder imports only folders of a lower rank, and
 * itself. Files directly in `src/` are rank 0 and import only each other.
 */
const ranks: Readonly<Record<string, number>> = {
  'native-bindings': 0,
  'src/.': 0,
  'src/image': 1,
  'src/registry': 2,
  'src/layer': 2,
  'src/chunk': 2,
  'src/metadata': 2,
  'src/thin': 3,
  'src/store': 3,
  'src/cache': 3,
  'src/pop': 4,
  'src/pull': 4,
  'src/hot': 4,
  'src/fuse': 4,
  'src/mount': 5,
  'src/page': 5,
  'src/daemon': 6,
  'src/cli': 7,
};
/** What `converter/` may use: the ranks 0 to 3, and the command-line parts of `src/cli`. */
const converterRankMax = 3;

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const bannedFolders = /(^|\/)(utils?|common|helpers|core|managers?|types|shared|misc)(\/|$)/;
const bannedFiles = /(^|\/)(index|utils?|helpers|types|misc)\.ts$/;

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => join(folder, name));
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = text.matchAll(/(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g);
  return [...found].map(([, target = '']) =>
    relative(root, resolve(root, dirname(file), target)).replace(/\.js$/, '.ts'),
  );
}

function folderOf(file: string): string {
  const parts = dirname(file).split('/');
  if (parts[0] !== 'src') return parts[0] ?? '';
  return parts.length === 1 ? 'src/.' : `src/${parts[1]}`;
}

const shipped = ['src', 'converter', 'native-bindings'].flatMap(sources);
const all = [...shipped, ...['test', 'scripts'].flatMap(sources)];

t.test('imports point down', async (t) => {
  for (const file of shipped) {
    const from = folderOf(file);
    for (const target of importsOf(file)) {
      const to = folderOf(target);
      if (from === to || to === 'src/.') continue;
      const rank = ranks[to];
      t.ok(
        rank !== undefined,
        `${to} has a rank (add it to ${relative(root, import.meta.filename)})`,
      );
      if (rank === undefined) continue;
      if (from === 'converter') {
        t.ok(
          rank <= converterRankMax || to === 'src/cli',
          `${file} imports ${target}: converter/ may use ranks 0 to ${converterRankMax} and src/cli`,
        );
      } else {
        t.ok(rank < (ranks[from] ?? -1), `${file} imports ${target}: move what is shared down`);
      }
    }
  }
});

t.test('every file is used', async (t) => {
  const imported = new Set(all.flatMap(importsOf));
  // Declarations are found by the compiler.
  const entries = /(src\/cli\/thin\.ts|converter\/thinify\.ts|-worker\.ts|\.d\.ts)$/;
  for (const file of shipped) {
    t.ok(imported.has(file) || entries.test(file), `${file} has an importer (delete it otherwise)`);
  }
});

t.test('files and folders are named for what they hold', async (t) => {
  for (const file of all) {
    t.notMatch(dirname(file), bannedFolders, `${file}: name the folder for a noun of the field`);
    t.notMatch(file, bannedFiles, `${file}: name the file for its main export, without a barrel`);
  }
});

t.test('source files are short enough to read in one sitting', async (t) => {
  for (const file of shipped) {
    const lines = readFileSync(join(root, file), 'utf8').split('\n').length;
    t.ok(lines <= 350, `${file} has ${lines} lines (at most 350): cut it where its stages are`);
  }
});

t.test('errors are known by name: bundles have a ThinError each', async (t) => {
  for (const file of shipped) {
    const source = readFileSync(join(root, file), 'utf8');
    t.notMatch(source, 'instanceof ThinError', `${file}: wanted isThinError`);
  }
});
