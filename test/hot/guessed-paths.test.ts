import { readFileSync } from 'node:fs';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { type ImageFile, ImageFiles } from '../../src/hot/image-files.js';
import { guessHotRanges } from '../../src/hot/static-guess.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { bytes, directory, file } from '../metadata/tree-builders.js';

/*
 * What is guessed of programs that no test image has, in small trees that are made up: a file holds its
 * own path unless something else is given, and one that can be executed is marked with `*`.
 */

/** A real program, which needs no library. */
const busybox = readFileSync('/bin/busybox');

type Contents = Readonly<Record<string, string | Buffer>>;

/** The files of a folder, and all folders below it. */
function treeOf(contents: ReadonlyMap<string, Buffer>, folder = '/') {
  const tree = directory();
  for (const [path, content] of contents) {
    if (!path.startsWith(folder)) continue;
    const [name = '', more] = path.slice(folder.length).split('/');
    const [plain] = name.split('*');
    if (tree.children.has(bytes(`${plain}`))) continue;
    const mode = name.endsWith('*') ? 0o755 : 0o644;
    const of = { content: digestOf(content), size: content.length };
    const child =
      more === undefined ? { ...file('', { mode }), ...of } : treeOf(contents, `${folder}${name}/`);
    tree.children.set(bytes(`${plain}`), child);
  }
  return tree;
}

/** The paths that are guessed for a command, of those that are there. */
async function guessed(
  paths: readonly string[],
  given: Contents,
  args: readonly string[],
  env: readonly string[] = [],
): Promise<string[]> {
  const own = paths.map((path): [string, Buffer] => [path, Buffer.from(path)]);
  const more = Object.entries(given).map(([path, is]): [string, Buffer] => [path, Buffer.from(is)]);
  const contents = new Map([...own, ...more]);
  const byDigest = new Map([...contents].map(([path, is]) => [digestOf(is), { path, is }]));
  const read = async ({ content }: ImageFile, offset: number, length: number) =>
    byDigest.get(content)?.is.subarray(offset, offset + length) ?? Buffer.alloc(0);
  const files = new ImageFiles(ErofsImage.parse(writeErofs(treeOf(contents))), read);
  const found = new Set<string>();
  await guessHotRanges(files, { args, env, workdir: '/app' }, ({ content }) => {
    found.add(byDigest.get(content)?.path ?? 'nothing that is there');
  });
  return [...found].sort();
}

t.test('R: itself, what its script loads and what that imports', async (t) => {
  const wanted = [
    ...['/usr/bin/Rscript*', '/usr/lib/R/bin/exec/R*', '/usr/lib/R/lib/libR.so'],
    ...['/usr/lib/R/etc/Renviron', '/usr/lib/R/library/base/R/Rprofile'],
    ...['/usr/lib/R/library/base/R/base.rdb', '/usr/lib/R/library/stats/libs/stats.so'],
    ...['/usr/lib/R/site-library/plot/R/plot.rdb', '/usr/lib/R/library/grid/Meta/package.rds'],
    ...['/usr/local/lib/R/site-library/scales/libs/scales.so', '/bin/sh*'],
    '/usr/lib/R/site-library/used/R/sysdata.rdx',
  ];
  const unwanted = [
    ...['/usr/lib/R/site-library/unused/R/unused.rdb', '/usr/lib/R/site-library/plot/help/AnIndex'],
    '/usr/lib/R/library/tcltk/R/tcltk.rdb',
  ];
  const given = {
    '/app/run.R': 'library("plot") # library(unused)\nused::draw(1)\n',
    '/usr/lib/R/bin/R*': '#!/bin/sh\nexec something\n',
    '/usr/lib/R/site-library/plot/NAMESPACE':
      '# import(tcltk)\nimportFrom(scales, hue)\nimport(grid, "methods")\n',
  };
  const found = await guessed([...wanted, ...unwanted], given, ['Rscript', '--vanilla', 'run.R']);
  t.strictSame(
    wanted.filter((path) => !found.includes(path)),
    [],
  );
  t.strictSame(
    unwanted.filter((path) => found.includes(path)),
    [],
  );
});

t.test('PostgreSQL, which a script starts as somebody, and makes its databases by', async (t) => {
  const root = '/usr/lib/postgresql/15';
  const shared = '/usr/share/postgresql/15';
  const wanted = [
    ...['/bin/sh*', '/usr/bin/gosu*', `${root}/bin/initdb*`, `${root}/bin/postgres*`],
    ...[`${root}/lib/plpgsql.so`, `${root}/lib/dict_snowball.so`],
    ...[`${shared}/postgres.bki`, `${shared}/timezonesets/Default`],
    `${shared}/tsearch_data/english.stop`,
  ];
  const unwanted = [
    ...[`${root}/lib/other.so`, `${root}/bin/pg_dump*`, `${shared}/tsearch_data/english.affix`],
  ];
  const given = { '/entry.sh*': '#!/bin/sh\nset -e\nexec gosu user initdb -D /data\n' };
  const path = [`PATH=${root}/bin:/usr/bin:/bin`];
  const found = await guessed([...wanted, ...unwanted], given, ['/entry.sh', 'x'], path);
  t.strictSame(found, [...wanted, '/entry.sh*'].sort());
});

t.test('programs in folders that a script puts into PATH, and behind wrappers', async (t) => {
  const wanted = ['/bin/sh*', '/bin/tini*', '/usr/lib/tool/7/bin/serve*'];
  const unwanted = ['/usr/lib/tool/7/bin/serve-not', '/usr/lib/tool/7/share/serve*'];
  const given = { '/entry.sh*': '#!/bin/sh\nPATH=$PATH:/usr/lib/tool/*/bin\nserve --fast\n' };
  const found = await guessed([...wanted, ...unwanted], given, ['tini', '--', '/entry.sh']);
  t.strictSame(found, [...wanted, '/entry.sh*'].sort());
});

t.test('scripts whose first line asks env for their shell', async (t) => {
  const wanted = ['/usr/bin/env*', '/bin/sh*', '/bin/serve*', '/entry.sh*'];
  const lines = ['env sh', 'env -S sh -e', 'env -iS A=1  sh -', 'env --split-string=sh -e'];
  for (const line of [...lines, 'env -S -u B sh']) {
    const given = { '/entry.sh*': `#!/usr/bin/${line}\nexec serve --fast\n` };
    const paths = wanted.filter((path) => path !== '/entry.sh*');
    t.strictSame(await guessed([...paths, '/bin/B*'], given, ['/entry.sh']), wanted.sort(), line);
  }
});

t.test('a command of very many words costs no more memory than they do', async (t) => {
  const text = `#!/bin/sh\nenv ${'a '.repeat(30_000)}\n`;
  const given = { '/entry.sh*': text };
  const paths = ['/bin/sh*', '/usr/bin/env*'];
  const words = Array.from({ length: 30_000 }, () => '-x');
  const args = ['/entry.sh', ...words];
  t.strictSame(await guessed(paths, given, args), [...paths, '/entry.sh*'].sort());
});

t.test('what is looked for behind the end of a file gives back no budget', async (t) => {
  const size = 1024 * 1024 * 1024;
  const big = { content: digestOf(Buffer.from('big')), size, executable: true, seconds: 0 };
  let reads = 0;
  const files = new ImageFiles(ErofsImage.parse(writeErofs(directory())), async () => {
    reads += 1;
    return Buffer.alloc(1);
  });
  await files.read(big, 2 ** 60, 1);
  t.equal((await files.read(big, 0, size)).length, 0);
  t.equal(reads, 0, 'more than the budget is not read');
});

t.test('the language that the environment names', async (t) => {
  const folder = '/usr/lib/locale';
  const german = [`${folder}/de_DE.utf8/LC_CTYPE`, `${folder}/de_DE.utf8/LC_TIME`];
  const archive = `${folder}/locale-archive`;
  const gconv = '/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache';
  const others = [`${folder}/C.utf8/LC_CTYPE`, `${folder}/de_DE.utf8/README`];
  const paths = [...german, ...others, archive, gconv];
  const program = '/bin/busybox*';
  const of = (...env: string[]) => guessed(paths, { [program]: busybox }, ['busybox'], env);
  t.strictSame(await of('LANG=de_DE.UTF-8'), [program, gconv, ...german].sort());
  t.strictSame(await of('LANG=fr_FR.UTF-8'), [program, gconv, archive].sort());
  t.strictSame(await of('LANG=de_DE.UTF-8', 'LC_ALL=C'), [program]);
  t.strictSame(await of(), [program]);
});
