import t from 'tap';
import { parseRedisAddress, popConfig, showRedisAddress } from '../../src/pop-option.js';

t.test('addresses of Redis', async (t) => {
  t.same(parseRedisAddress('redis://cache'), {
    ...{ kind: 'server', tls: false, database: 0, hosts: [{ host: 'cache', port: 6379 }] },
  });
  t.same(parseRedisAddress('rediss://thin:p%40ss@[::1]:7000/3'), {
    ...{ kind: 'server', tls: true, database: 3, username: 'thin', password: 'p@ss' },
    hosts: [{ host: '::1', port: 7000 }],
  });
  t.same(parseRedisAddress('redis+sentinel://:pw@a,b:26380/main/2'), {
    ...{ kind: 'sentinel', tls: false, database: 2, primary: 'main', password: 'pw' },
    hosts: [
      { host: 'a', port: 26_379 },
      { host: 'b', port: 26_380 },
    ],
  });
  t.match(parseRedisAddress('rediss+cluster://a:1,b:2'), { kind: 'cluster', tls: true });
  const wrong = ['', 'http://a', 'redis://', 'redis://a,b', 'redis://a:0', 'redis://a/x'];
  const more = ['redis+sentinel://a', 'redis+cluster://a/1', 'redis://u:secret@a b', 'redis://a?x'];
  for (const text of [...wrong, ...more]) {
    t.throws(() => parseRedisAddress(text), { code: 'invalid', message: /^(?!.*secret)/ }, text);
  }
  const address = parseRedisAddress('redis://user:secret@cache:1');
  t.equal(showRedisAddress(address), 'cache:1', 'secrets are not shown');
});

t.test('options of a node', async (t) => {
  t.equal(popConfig({}), undefined);
  t.throws(() => popConfig({ pop: 'redis://a' }), /--pop-secret/);
  const given = { pop: 'redis://a', popSecret: '/s', popListen: '10.0.0.1:7', popUpload: '1M/s' };
  t.match(popConfig(given), {
    listen: { host: '10.0.0.1', port: 7 },
    ...{ secretFile: '/s', uploadBytesPerSecond: 2 ** 20, policy: 'lru' },
  });
  t.throws(() => popConfig({ ...given, popListen: 'a:b' }), { code: 'invalid' });
  t.throws(() => popConfig({ ...given, popPolicy: 'mru' }), /lru or gdsf/);
});
