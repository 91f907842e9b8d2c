import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { codeState, importsOfCode } from '../../src/hot/python-code.js';
import { importsOfSource } from '../../src/hot/python-imports.js';
import { shellCommands } from '../../src/hot/shell-commands.js';
import fc from '../support/properties.js';
import { runCommand } from '../support/run-command.js';

const source = `"""What it does:
import not_this
"""
import a.b as c, d
from . import (
    e,  # a module
    f as g,
)
from ..h.i import j; import k
try:
    import l
except ImportError:
    l = None

class M:
    from n import x
    def o(self):
        import not_that
        return lambda: 1 + 2j

async def p():
    import neither

q = [10**30, 1.5, None, True, ..., frozenset({'é', '\\u4e00'}), b'bytes', ('r', ('s',))]
import t.u
if __name__ == '__main__':
    import v
`;
const plain = (name: string) => ({ level: 0, name, members: [] });
const before = [
  ...[plain('a.b'), plain('d')],
  { level: 1, name: '', members: ['e', 'f'] },
  { level: 2, name: 'h.i', members: ['j'] },
  ...[plain('k'), plain('l')],
];
const inClass = { level: 0, name: 'n', members: ['x'] };
const [last, own] = [plain('t.u'), plain('v')];

t.test('imports of a module as text: not those of functions and comments', async (t) => {
  t.same(importsOfSource(source), [...before, inClass, last]);
  t.same(importsOfSource(source, true), [...before, inClass, last, own]);
  t.same(importsOfSource('import json; import numpy, lxml.etree as e'), [
    ...['json', 'numpy', 'lxml.etree'].map(plain),
  ]);
});

t.test('a text that is made to take long does not', async (t) => {
  const size = 500_000;
  const long = (piece: string) => piece.repeat(size / piece.length);
  for (const text of [`from ${long(' ')}x`, `from ${long('.')}`, long('import ('), long('"\'')]) {
    t.same(importsOfSource(text), []);
  }
  t.same(importsOfSource(`from ${' '.repeat(20)}.  a   import   b`), [
    { level: 1, name: 'a', members: ['b'] },
  ]);
  t.same(shellCommands(long('/-')).paths, []);
});

t.test('the same as byte code; with anything in it it is none', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-python-'));
  t.teardown(() => runCommand('rm', ['-r', folder]));
  const [text, code] = [join(folder, 'x.py'), join(folder, 'x.pyc')];
  writeFileSync(text, source);
  const compile = 'import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2])';
  await runCommand('python3', ['-c', compile, text, code]);
  const bytes = readFileSync(code);
  t.same(importsOfCode(bytes), [...before, last]);
  t.same(importsOfCode(bytes, true), [...before, last, own]);
  const { size } = Object(codeState(bytes));
  t.equal(size, Buffer.byteLength(source));
  const edits = fc.array(fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 })));
  await fc.assert(
    fc.property(edits, fc.nat({ max: bytes.length }), (changes, length) => {
      const other = Buffer.from(bytes);
      for (const [at, value] of changes) if (at >= 16) other[at] = value;
      const imports = importsOfCode(other.subarray(0, length)) ?? [];
      return imports.every(({ name }) => typeof name === 'string');
    }),
    { numRuns: 2000 },
  );
});

t.test('commands of a script, and the paths that it names', async (t) => {
  const { commands, paths } = shellCommands(`#!/bin/sh
    # cat nothing
    PATH=$PATH:$(echo /usr/lib/tool/*/bin) && cd /tmp
    if [ -z "$X" ]; then exec gosu user 'server' --port 1; fi
    printf x | sort > /etc/x.conf; "$@"`);
  t.same(commands, [
    ['echo', '/usr/lib/tool/*/bin'],
    ['cd', '/tmp'],
    ['gosu', 'user', 'server', '--port', '1'],
    ['fi'],
    ['printf', 'x'],
    ['sort', '>', '/etc/x.conf'],
  ]);
  t.same(paths, ['/usr/lib/tool/*/bin', '/tmp', '/etc/x.conf']);
});
