import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cleanUp } from '../support/clean-up.js';
import { startRegistry } from '../support/docker-registry.js';
import { type CommandResult, type RunCommandOptions, runCommand } from '../support/run-command.js';
import { Secrets } from './secrets.js';
import { makeRootfs } from './small-rootfs.js';
import { setReadDeadline, startNode, type TestNode, thinifyProgram } from './test-node.js';

/*
 * A registry with TLS by an authority of its own and one account: each way to log in, through the
 * commands. At the end the passwords are looked for in all that was said, logged and kept.
 */
t.setTimeout(400_000);
const username = 'alice';
const password = 'the secret: of alice/ü';
const wrong = 'a wrong secret/42';
const secrets = new Secrets({ password, wrong }, username);
const registry = await startRegistry(t, { htpasswd: { username, password }, tls: true });
const folder = mkdtempSync(join(tmpdir(), 'thinfs-credentials-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const ca = join(folder, 'ca.crt');
copyFileSync(registry.ca ?? '', ca);
const image = `${registry.host}/team/app:1`;
const rootfs = join(folder, 'rootfs');
makeRootfs(rootfs, { count: 3, bytes: 100_000 });
const cache = join(folder, 'cache');

const said: string[] = [];
/** Folders with state that a node or a converter has left. */
const kept: string[] = [cache];

function remember(result: CommandResult): CommandResult {
  said.push(result.stdout, result.stderr);
  return result;
}

function makeNode(
  t: Test,
  dockerConfig: string,
  environment: Record<string, string> = {},
): TestNode {
  const node = startNode(t, {
    DOCKER_CONFIG: dockerConfig,
    ...environment,
  });
  const copy = join(folder, `kept-${kept.length}`);
  kept.push(copy);
  // What a killed daemon would leave: all of its state, before the node is taken down.
  cleanUp(t, () => runCommand('cp', ['-r', '--one-file-system', node.root, copy]));
  return {
    ...node,
    thin: async (args, options) => remember(await node.thin(args, options)),
  };
}

async function thinify(args: readonly string[], options: RunCommandOptions = {}) {
  const env = { THINFS_CACHE_HOME: cache, DOCKER_CONFIG: empty, ...options.env };
  const call = { mayFail: true, timeoutMs: 60_000, ...options, env };
  return remember(await runCommand(process.execPath, [thinifyProgram, ...args], call));
}

/** A folder with docker's `config.json`. */
function dockerConfig(name: string, config: object): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  return path;
}

function authOf(secret: string) {
  return { auths: { [registry.host]: { auth: btoa8(`${username}:${secret}`) } } };
}

function btoa8(text: string): string {
  return Buffer.from(text).toString('base64');
}

const empty = dockerConfig('empty', {});
const good = dockerConfig('good', authOf(password));
const bad = dockerConfig('bad', authOf(wrong));

function expectError(t: Test, result: CommandResult, code: number, message: RegExp): void {
  t.equal(result.code, code, result.stderr);
  t.match(result.stderr, /^error: Cannot [^\n]+\n$/);
  t.match(result.stderr, message);
}

const program = ['sh', '-c', 'cat /data/0 | wc -c'];
const flags = ['--ca-file', ca];
const login = ['--username', username, '--password-stdin'];

t.test('thinify, with each way to log in', async (t) => {
  const made = await thinify([`dir:${rootfs}`, '--name', image, ...flags], {
    env: { DOCKER_CONFIG: good },
  });
  t.equal(made.code, 0, made.stderr);
  const typed = await thinify(
    ['verify', image, '--to', image.replace(/:1$/, ''), ...flags, ...login],
    {
      input: `${password}\n`,
    },
  );
  t.match(typed, { code: 0, stdout: /all right/ }, typed.stderr);
  const none = await thinify(['inspect', image, ...flags]);
  expectError(t, none, 4, /wants a login.*docker login/);
  const refused = await thinify(['inspect', image, ...flags, ...login], { input: wrong });
  expectError(t, refused, 4, /HTTP 401.*--username/);
  const push = [`dir:${rootfs}`, '--name', `${registry.host}/team/other:1`, ...flags];
  expectError(t, await thinify(push, { env: { DOCKER_CONFIG: bad } }), 4, /HTTP 401/);
  const half = await thinify(['inspect', image, ...flags, '--username', username]);
  expectError(t, half, 2, /wanted --username and --password-stdin together/);
});

t.test("thin run, with docker's configuration", async (t) => {
  const node = makeNode(t, good);
  const ran = await node.thin(['run', '--rm', '-q', ...flags, image, ...program]);
  t.same([ran.code, ran.stdout, ran.stderr], [0, '100000\n', '']);
  t.match((await node.status()).images, [{ kind: 'thin' }]);
});

t.test('thin run, with a credential helper', async (t) => {
  const programs = join(folder, 'programs');
  mkdirSync(programs);
  const answer = JSON.stringify({ ServerURL: registry.host, Username: username, Secret: password });
  const helper = join(programs, 'docker-credential-of-the-test');
  const asks = `#!/bin/sh\nread server; [ "$1 $server" = "get ${registry.host}" ] && echo '${answer}'\n`;
  writeFileSync(helper, asks, { mode: 0o755 });
  const PATH = `${programs}:${process.env.PATH}`;
  const config = dockerConfig('helped', { credHelpers: { [registry.host]: 'of-the-test' } });
  const node = makeNode(t, config, { PATH });
  const ran = await node.thin(['run', '--rm', '-q', ...flags, image, ...program]);
  t.same([ran.code, ran.stdout, ran.stderr], [0, '100000\n', '']);

  writeFileSync(helper, `#!/bin/sh\necho '${answer}'; exit 3\n`);
  chmodSync(helper, 0o755);
  const other = makeNode(t, config, { PATH });
  const failed = await other.thin(['run', '--rm', '-q', ...flags, image, ...program]);
  expectError(t, failed, 4, /docker-credential-of-the-test: it ended with 3/);
});

t.test('thin run, with a password that is piped', async (t) => {
  const node = makeNode(t, empty, { THINFS_PREFETCH: 'none' });
  const run = ['run', '--rm', '-q', ...flags];
  expectError(t, await node.thin([...run, image, 'true']), 4, /wants a login/);
  const refused = await node.thin([...run, ...login, image, 'true'], { input: wrong });
  expectError(t, refused, 4, /HTTP 401/);
  const ran = await node.thin([...run, ...login, image, ...program], { input: `${password}\n` });
  t.same([ran.code, ran.stdout, ran.stderr], [0, '100000\n', '']);
  const later = await node.thin([...run, image, 'sh', '-c', 'cat /data/1 | wc -c']);
  t.equal(later.stdout, '100000\n', 'the daemon remembers it');

  await node.stop();
  const here = await node.thin([...run, image, ...program]);
  t.equal(here.stdout, '100000\n', 'what is here needs no login');
  await setReadDeadline(node, '4s');
  const gone = await node.thin(['cat', ...flags, image, '/data/2']);
  expectError(t, gone, 4, /wants a login/);
  await setReadDeadline(node, '5m');
  const again = await node.thin([...run, ...login, image, 'sh', '-c', 'cat /data/2 | wc -c'], {
    input: password,
  });
  t.equal(again.stdout, '100000\n', again.stderr);
});

t.test('a certificate that nobody vouches for', async (t) => {
  const node = makeNode(t, good);
  const ran = await node.thin(['run', '--rm', '-q', image, 'true']);
  expectError(t, ran, 2, /it wants HTTPS/);
  const made = await thinify(['inspect', '--no-plain-http', image], {
    env: { DOCKER_CONFIG: good },
  });
  expectError(t, made, 4, /certificate of .* is not trusted/);
  const none = await node.thin(['run', '--rm', '--ca-file', join(folder, 'none'), image, 'true']);
  expectError(t, none, 2, /Cannot read certificate .*none/);
  const local = await node.thin(['run', '--rm', '--no-plain-http', image, 'true']);
  expectError(t, local, 4, /certificate of .* is not trusted/);
});

t.test('no password was said, logged or kept', async (t) => {
  t.ok(said.join('').length > 1000);
  t.same(secrets.in(said.join('\n')), []);
  t.same(
    kept.filter((path) => !existsSync(path)),
    [],
    'all that was kept is here to be looked at',
  );
  t.same(await secrets.filesWith(kept), []);
  t.same(await secrets.filesWith([good]), [join(good, 'config.json')], 'it would have been found');
});
