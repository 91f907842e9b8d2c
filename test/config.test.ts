import t from 'tap';
import { type NodeOptions, nodeConfig } from '../src/config.js';

const config = (options: NodeOptions, environment = {}) => nodeConfig(options, environment, 0);

t.test('the command line comes first, then the environment, then what is usual', async (t) => {
  t.match(config({}), { readDeadlineMs: 300_000, metrics: undefined, logLevel: 'info' });
  const environment = {
    THINFS_READ_DEADLINE: '10s',
    THINFS_METRICS: '9100',
    THINFS_LOG_LEVEL: 'debug',
  };
  t.match(config({}, environment), {
    readDeadlineMs: 10_000,
    metrics: { host: '127.0.0.1', port: 9100 },
    logLevel: 'debug',
  });
  t.match(config({ readDeadline: '1m', metrics: '[::]:1', logLevel: 'warn' }, environment), {
    readDeadlineMs: 60_000,
    metrics: { host: '::', port: 1 },
    logLevel: 'warn',
  });
});

t.test('what is brought ahead', async (t) => {
  t.equal(config({}).prefetch, 'auto');
  t.equal(config({}, { THINFS_PREFETCH: 'none' }).prefetch, 'none');
  t.throws(() => config({ prefetch: 'all' }), { code: 'invalid', message: /wanted auto or none/ });
});

t.test('addresses of metrics', async (t) => {
  t.strictSame(config({ metrics: ':80' }).metrics, { host: '127.0.0.1', port: 80 });
  t.strictSame(config({ metrics: 'node-1.site:0' }).metrics, { host: 'node-1.site', port: 0 });
  for (const metrics of ['host', '70000', 'http://x:1', 'a b:1', '::1']) {
    t.throws(() => config({ metrics }), { code: 'invalid', message: /wanted \[host:\]port/ });
  }
  t.throws(() => config({ logLevel: 'loud' }), {
    code: 'invalid',
    message: /wanted one of silent/,
  });
});
