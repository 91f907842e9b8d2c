import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DirectoryObjects } from '../../src/store/directory-objects.js';
import { writableLayoutStore } from '../../src/store/layout-store.js';
import { blobPath } from '../../src/store/object-paths.js';
import { storeSuite } from './store-suite.js';

await storeSuite(t, async (t) => {
  const root = t.testdir({});
  const store = writableLayoutStore(new DirectoryObjects(root));
  return {
    writer: store,
    reader: store,
    repository: 'localhost:5000/team/app',
    async damage({ digest }, bytes) {
      const path = join(root, blobPath(digest));
      if (bytes) await writeFile(path, bytes);
      else await rm(path);
    },
  };
});
