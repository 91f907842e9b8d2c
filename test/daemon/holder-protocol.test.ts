import t from 'tap';
import { mergeSettings, readFlags, settingsOf } from '../../src/daemon/holder-protocol.js';

t.test('flags are kept as they were written, by name', async (t) => {
  const words = ['--root', '/a', '--cache-size=5G', '--tier', 'x', '--tier', 'y', '--no-metrics'];
  t.same(readFlags(words), {
    root: ['--root', '/a'],
    'cache-size': ['--cache-size=5G'],
    tier: ['--tier', 'x', '--tier', 'y'],
    metrics: ['--no-metrics'],
  });
  t.same(readFlags([]), {});
  t.same(readFlags(['stray', '-x']), {}, 'what belongs to no flag is left out');
});

t.test('what may be a password is handed on as a variable', async (t) => {
  const url = 'redis://a:b@c';
  const flags = { root: ['--root', '/a'] };
  for (const words of [['--pop', url], [`--pop=${url}`]]) {
    t.same(settingsOf([...words, '--root', '/a']), { flags, env: { THINFS_POP: url } });
  }
  t.same(settingsOf(['--root', '/a']), { flags, env: {} });
});

t.test('later settings win flag by flag', async (t) => {
  const before = {
    node: 'node',
    nodeArguments: ['--a'],
    program: '/old/thin.js',
    flags: { 'cache-size': ['--cache-size', '1G'], tier: ['--tier', 'x'] },
    env: { THINFS_A: '1', THINFS_B: '1' },
  };
  const later = {
    node: 'node',
    nodeArguments: [],
    program: '/new/thin.js',
    flags: { 'cache-size': ['--cache-size', '2G'] },
    env: { THINFS_B: '2' },
  };
  t.same(mergeSettings(before, later), {
    node: 'node',
    nodeArguments: [],
    program: '/new/thin.js',
    flags: { 'cache-size': ['--cache-size', '2G'], tier: ['--tier', 'x'] },
    env: { THINFS_A: '1', THINFS_B: '2' },
  });
});
