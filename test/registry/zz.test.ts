import { randomBytes } from 'node:crypto';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { RegistryClient } from '../../src/registry/registry-client.js';
import { startRegistry } from '../support/docker-registry.js';

t.test('x', async (t) => {
  const { signal } = new AbortController();
  const { host } = await startRegistry(t);
  const client = await RegistryClient.open({
    registry: host,
    repository: 'a',
    patience: { attemptsMax: 1 },
  });
  const bytes = randomBytes(64 << 20);
  const blob = { digest: digestOf(bytes), size: bytes.length };
  await client.pushBlob(
    blob,
    async function* () {
      yield bytes;
    },
    signal,
  );
  const chunks = client.blob(blob, { signal });
  console.log((await chunks.next()).value?.length);
  console.time('d');
  await client[Symbol.asyncDispose]();
  console.timeEnd('d');
  let n = 0,
    k = 0;
  try {
    for await (const c of chunks) {
      n += c.length;
      k++;
      if (k < 5) {
        console.log(c.length);
        await new Promise((r) => setTimeout(r, 50));
      }
    }
  } catch (e) {
    console.log(e);
  }
  console.log(n, k);
});
