import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { blobPath } from '../../src/store/object-paths.js';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import { never, storeSuite } from './store-suite.js';

await storeSuite(t, async (t) => {
  const root = t.testdir({});
  const writer = await openWritableStore(`dir:${root}`, {}, never);
  const reader = await openStore(`dir:${root}`, {}, never);
  return {
    writer: writer.store,
    reader: reader.store,
    repository: 'localhost:5000/team/app',
    async damage({ digest }, bytes) {
      const path = join(root, blobPath(digest));
      if (bytes) await writeFile(path, bytes);
      else await rm(path);
    },
  };
});
