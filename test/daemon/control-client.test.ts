import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { ControlClient, type ProgressEvent } from '../../src/daemon/control-client.js';
import { type ControlHandlers, ControlServer } from '../../src/daemon/control-server.js';
import { StopSwitch } from '../../src/daemon/stop-switch.js';

const signal = new AbortController().signal;

const dying = 'dying';
const note = JSON.stringify({ event: 'note', message: 'it comes' });

/** A daemon that writes each of `answers`, and dies; `dying`: it was dead. @returns its client */
async function startMortal(t: Test, answers: readonly string[]): Promise<ControlClient> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-client-'));
  const socket = join(folder, 'control.sock');
  const left = [...answers];
  const server = createServer((request, response) => {
    const answer = left.shift() ?? '';
    request.resume();
    if (answer === dying) {
      request.socket.destroy();
      return;
    }
    response.writeHead(200);
    response.write(answer, () => response.destroy());
    response.flushHeaders();
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return new ControlClient(socket);
}

t.test('a daemon that dies before it has answered is away, and no defect of ours', async (t) => {
  const ends = ['', `${note}\n`, `${note}\n{"event":"resu`];
  const client = await startMortal(t, ends);
  for (const _ of ends) {
    await t.rejects(client.call('status', {}, { signal }), { code: 'unavailable' });
  }
});

t.test('where a request may be made again, daemons that die are asked once more', async (t) => {
  const [result, error] = [
    `${note}\n{"event":"result","result":null}\n`,
    '{"event":"error","code":"unavailable","message":"Cannot reach the registry"}\n',
  ];
  const client = await startMortal(t, ['', `${note}\n`, result, error, '', '', '', result]);
  let connects = 0;
  const reconnect = async () => void connects++;
  t.equal(await client.call('pause', { paused: true }, { signal, reconnect }), null);
  t.equal(connects, 2);
  const again = client.call('pause', { paused: true }, { signal, reconnect });
  await t.rejects(again, { message: 'Cannot reach the registry' }, 'which is an answer');
  const deadly = client.call('pause', { paused: true }, { signal, reconnect });
  await t.rejects(deadly, { code: 'unavailable' });
  t.equal(connects, 4, 'what daemons die of is given up');
});

t.test('one that was killed and seems to listen has died once', async (t) => {
  const result = '{"event":"result","result":null}\n';
  const answers = ['', dying, dying, '', dying, dying, dying, result];
  const client = await startMortal(t, answers);
  const notes: string[] = [];
  const options = {
    signal,
    onEvent: (event: ProgressEvent) => notes.push(event.event),
    reconnect: async () => undefined,
  };
  t.equal(await client.call('pause', { paused: true }, options), null);
  t.same(notes, ['note', 'note']);
});

t.test('a daemon says that it has taken a request before it knows what to say', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-control-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'control.sock');
  let go = () => {};
  const pause = () =>
    new Promise<null>((resolve) => {
      go = () => resolve(null);
    });
  const handlers = { pause } as unknown as ControlHandlers;
  const pages = {
    readFile: () => Promise.reject(new Error('no files')),
    metrics: async () => '',
  } as never;
  const log = pino({ level: 'silent' });
  const followed = { isFollowed: true };
  await using _ = await ControlServer.open(socketPath, handlers, pages, log, followed);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpRequest({ socketPath, path: '/v1/pause', method: 'POST' }, resolve);
    request.once('error', reject).end('{"paused":true}');
  });
  go();
  t.equal((await response.toArray()).join(''), '{"event":"result","result":null}\n');
});

t.test('what ends a daemon first says what follows', async (t) => {
  const [stopped, broken] = [new StopSwitch(), new StopSwitch()];
  stopped.stop();
  stopped.restart(true);
  t.notOk(stopped.isFollowed);
  t.same(await stopped.thrown, { restart: false, renew: false });
  broken.restart(true);
  broken.stop();
  t.ok(broken.isFollowed);
});
