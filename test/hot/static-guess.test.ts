import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ImageFiles } from '../../src/hot/image-files.js';
import { guessHotRanges, type HotRange } from '../../src/hot/static-guess.js';
import { scratchDirectory } from '../cache/cache-rig.js';
import type { ImageName } from '../support/images.js';
import { pullFiles } from './pulled-files.js';

/** Of one guess: it must stay cheap, as each read may be a round trip. Imports are many files. */
const readsMax = 400;
const pythonReadsMax = 800;

t.setTimeout(400_000); // whole images are extracted first

interface Guess {
  readonly ranges: readonly HotRange[];
  readonly files: ImageFiles;
}

/** What is guessed for a command; without one, for the image's own. */
async function guess(t: Test, name: ImageName, commands: readonly (readonly string[])[]) {
  const pulled = await pullFiles(name, join(scratchDirectory(t), 'root'));
  t.teardown(() => pulled[Symbol.asyncDispose]());
  const { files, reads } = pulled;
  const { Entrypoint = [], Cmd = [], Env = [], WorkingDir = '/' } = pulled.config.config ?? {};
  const guesses: Guess[] = [];
  for (const command of commands) {
    const args = [...Entrypoint, ...(command.length > 0 ? command : Cmd)];
    const ranges: HotRange[] = [];
    reads.count = 0;
    const start = { args, env: Env, workdir: WorkingDir || '/' };
    await guessHotRanges(files, start, (range) => void ranges.push(range));
    const most = name === 'python' ? pythonReadsMax : readsMax;
    t.ok(reads.count <= most, `${reads.count} reads for ${args.join(' ')}`);
    for (const { offset, length, size } of ranges) {
      if (length > 0 && offset >= 0 && offset + length <= size) continue;
      t.fail(`a range is inside its file: ${offset} + ${length} of ${size}`);
    }
    guesses.push({ ranges, files });
  }
  return guesses;
}

function checkHas(t: Test, guess: Guess | undefined, paths: readonly string[]): void {
  const contents = new Set(guess?.ranges.map(({ content }) => content));
  for (const path of paths) {
    const file = guess?.files.file(path);
    t.ok(file && contents.has(file.content), `${path} is guessed`);
  }
}

const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const libraries = `/lib/${machine}-linux-gnu`;
const linker =
  process.arch === 'arm64' ? '/lib/ld-linux-aarch64.so.1' : '/lib64/ld-linux-x86-64.so.2';

t.test(
  'python: libraries, start-up modules, direct imports, native ones with theirs',
  async (t) => {
    const code = 'import json; import numpy, lxml.etree as e\nfrom PIL import Image';
    const [plain, imports, module] = await guess(t, 'python', [
      [],
      ['python3', '-c', code],
      ['python3', '-m', 'http.server'],
    ]);
    const start = ['/usr/bin/python3', linker, `${libraries}/libc.so.6`, `${libraries}/libm.so.6`];
    const python = '/usr/lib/python3.11';
    const compiled = (name: string) => {
      const [folder, stem] = [name.slice(0, name.lastIndexOf('/')), name.split('/').at(-1)];
      return `${folder}/__pycache__/${stem}.cpython-311.pyc`;
    };
    checkHas(t, plain, [...start, compiled(`${python}/encodings/__init__`), '/etc/ld.so.cache']);
    const packages = '/usr/lib/python3/dist-packages';
    checkHas(t, imports, [
      ...start,
      compiled(`${python}/json/__init__`),
      compiled(`${packages}/numpy/__init__`),
      compiled(`${packages}/PIL/Image`),
      `${packages}/lxml/etree.cpython-311-${machine}-linux-gnu.so`,
      `${libraries}/libxml2.so.2`, // of lxml
      compiled(`${python}/re/_parser`), // of json.decoder
      `${packages}/numpy/core/_multiarray_umath.cpython-311-${machine}-linux-gnu.so`,
      `${libraries}/libblas.so.3`, // of that
    ]);
    checkHas(t, module, [
      compiled(`${python}/importlib/__init__`),
      compiled(`${python}/http/server`),
    ]);
    const numpy = imports?.files.file(compiled(`${packages}/numpy/__init__`))?.content;
    t.notOk(plain?.ranges.some(({ content }) => content === numpy));
  },
);

t.test('node: the shell of its entry point, the program behind it, its script', async (t) => {
  const [own] = await guess(t, 'node', [[]]);
  checkHas(t, own, [
    '/usr/local/bin/start.sh',
    '/bin/sh',
    '/usr/bin/node',
    linker,
    `${libraries}/libnode.so.108`,
    `${libraries}/libuv.so.1`,
    '/srv/app/main.js',
    '/srv/app/package.json',
  ]);
});

t.test('nginx: its libraries and its settings', async (t) => {
  const [own] = await guess(t, 'nginx', [[]]);
  checkHas(t, own, ['/usr/sbin/nginx', linker, `${libraries}/libc.so.6`, '/etc/passwd']);
});

t.test('busybox: a static program behind a symlink; what is not there is nothing', async (t) => {
  const [own, none] = await guess(t, 'busybox', [[], ['/no/such/program']]);
  checkHas(t, own, ['/bin/busybox', '/etc/passwd']);
  t.same(none?.ranges, []);
});
