import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { askHolder, isListening } from '../../src/daemon/holder-client.js';
import { listenAsHolder } from '../../src/daemon/holder-socket.js';
import fc from '../support/properties.js';
import { type Script, scriptedHolder } from './scripted-holder.js';

const { signal } = new AbortController();

async function listening(t: Test, script: Script) {
  const scripted = scriptedHolder(t, script);
  const socket = join(scripted.folder, 'run', 'holder.sock');
  const server = await listenAsHolder(socket, scripted.holder);
  t.teardown(() => server.close());
  return { ...scripted, socket };
}

/** All that is answered to `text`. */
function exchange(socket: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const connection = connect(socket);
    connection.setEncoding('utf8').on('data', (piece) => {
      answer += piece;
    });
    connection.on('error', () => {}).once('close', () => resolve(answer));
    connection.end(text);
  });
}

t.test('only the owner can ask', async (t) => {
  const { socket } = await listening(t, {});
  t.equal(statSync(socket).mode & 0o777, 0o600);
  t.equal(statSync(join(socket, '..')).mode & 0o777, 0o700);
});

t.test('start, status, restart, stop', async (t) => {
  const { socket, settings, holder } = await listening(t, { refuse: true });
  t.match(await askHolder(socket, { op: 'status' }, signal), { phase: 'stopped' });
  const started = await askHolder(socket, { op: 'start', settings }, signal);
  t.match(started, { phase: 'serving', pid: process.pid });
  const restart = { op: 'restart', settings, force: false } as const;
  await t.rejects(askHolder(socket, restart, signal), { code: 'busy', message: 'in use' });
  const restarted = await askHolder(socket, { ...restart, force: true }, signal);
  t.not(restarted.serverPid, started.serverPid);
  const waiting = askHolder(socket, { op: 'wait' }, signal);
  await askHolder(socket, { op: 'stop', force: true, unmount: false }, signal);
  t.match(await waiting, { phase: 'stopped' }, 'who waits learns of the end');
  await holder.finished;
});

t.test('a start that fails is an error of its own kind', async (t) => {
  const failure = { code: 'no-space', message: 'the disk is full' };
  const { socket, settings } = await listening(t, { failure });
  await t.rejects(askHolder(socket, { op: 'start', settings }, signal), failure);
});

t.test('nobody listens', async (t) => {
  const { folder } = scriptedHolder(t, {});
  const none = join(folder, 'none');
  t.notOk(await isListening(none));
  await t.rejects(askHolder(none, { op: 'status' }, signal), { code: 'not-found' });
});

t.test('who waits can give up', async (t) => {
  const { socket } = await listening(t, {});
  const giving = new AbortController();
  const waiting = askHolder(socket, { op: 'wait' }, giving.signal);
  giving.abort();
  await t.rejects(waiting, { code: 'canceled' });
});

t.test('requests of another version, or none at all', async (t) => {
  const { socket, settings } = await listening(t, {});
  const refused: unknown[] = [
    { version: 2, op: 'status' },
    { version: 1, op: 'explode' },
    { version: 1, op: 'start' },
    { version: 1, op: 'start', settings: { ...settings, flags: { a: 'b' } } },
    { version: 1, op: 'start', settings: { ...settings, env: { A: 1 } } },
    { version: 1, op: 'restart', settings: { ...settings, nodeArguments: [1] } },
  ];
  for (const request of refused) {
    const answer = await exchange(socket, `${JSON.stringify(request)}\n`);
    t.match(JSON.parse(answer), { ok: false, code: 'invalid' }, JSON.stringify(request));
  }
  for (const noRequest of ['', '\n', '[]\n', 'null\n', '{"version":1\n', 'x'.repeat(2 ** 21)]) {
    t.equal(await exchange(socket, noRequest), '', noRequest.slice(0, 20));
  }
});

t.test('whatever is said, it goes on', async (t) => {
  const { socket } = await listening(t, {});
  const said = fc.oneof(fc.string({ unit: 'binary' }), fc.json());
  const property = fc.asyncProperty(said, async (text) => {
    await exchange(socket, `${text}\n`);
  });
  await fc.assert(property, { numRuns: 100 });
  t.match(await askHolder(socket, { op: 'status' }, signal), { phase: 'stopped' });
});
