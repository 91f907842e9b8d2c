import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ControlClient } from '../../src/daemon/control-client.js';

const signal = new AbortController().signal;

t.test('a daemon that dies before it has answered is away, and no defect of ours', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-client-'));
  const socket = join(folder, 'control.sock');
  const note = JSON.stringify({ event: 'note', message: 'it comes' });
  const ends = ['', `${note}\n`, `${note}\n{"event":"resu`];
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200);
    response.write(ends.shift() ?? '', () => response.destroy());
    response.flushHeaders();
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const client = new ControlClient(socket);
  while (ends.length > 0) {
    await t.rejects(client.call('status', {}, { signal }), { code: 'unavailable' });
  }
});
