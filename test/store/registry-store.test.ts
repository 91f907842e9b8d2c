import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { digestHex } from '../../src/digest.js';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import { startRegistry } from '../support/docker-registry.js';
import { never, storeSuite } from './store-suite.js';

await storeSuite(t, async (t) => {
  const { host, root } = await startRegistry(t);
  const options = { registry: { patience: { backoffMs: 5, backoffMaxMs: 20 } } };
  const writer = await openWritableStore(`${host}/team/app`, options, never);
  t.teardown(() => writer[Symbol.asyncDispose]());
  const reader = await openStore(`${host}/team/app`, options, never);
  t.teardown(() => reader[Symbol.asyncDispose]());
  return {
    writer: writer.store,
    reader: reader.store,
    repository: `${host}/team/app`,
    async damage({ digest }, bytes) {
      const hex = digestHex(digest);
      const folder = join(root, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex);
      if (bytes) await writeFile(join(folder, 'data'), bytes);
      else await rm(join(folder, 'data'));
    },
  };
});
