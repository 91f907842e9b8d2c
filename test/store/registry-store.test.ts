import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { digestHex } from '../../src/digest.js';
import { RegistryClient } from '../../src/registry/registry-client.js';
import { RegistryStore } from '../../src/store/registry-store.js';
import { startRegistry } from '../support/docker-registry.js';
import { storeSuite } from './store-suite.js';

await storeSuite(t, async (t) => {
  const { host, root } = await startRegistry(t);
  const patience = { backoffMs: 5, backoffMaxMs: 20 };
  const client = await RegistryClient.open({ registry: host, repository: 'team/app', patience });
  t.teardown(() => client[Symbol.asyncDispose]());
  const store = new RegistryStore(client);
  return {
    writer: store,
    reader: store,
    repository: `${host}/team/app`,
    async damage({ digest }, bytes) {
      const hex = digestHex(digest);
      const folder = join(root, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex);
      if (bytes) await writeFile(join(folder, 'data'), bytes);
      else await rm(join(folder, 'data'));
    },
  };
});
