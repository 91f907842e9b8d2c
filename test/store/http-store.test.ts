import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DirectoryObjects } from '../../src/store/directory-objects.js';
import { HttpObjects } from '../../src/store/http-objects.js';
import { layoutStore, writableLayoutStore } from '../../src/store/layout-store.js';
import { blobPath } from '../../src/store/object-paths.js';
import { type StaticHttp, startNginx, startPythonHttp } from '../support/static-http.js';
import { type StoreUnderTest, storeSuite } from './store-suite.js';

type StartServer = (t: Test, root: string) => Promise<StaticHttp>;

/** A directory store writes, a web server over the same folder is read. */
const servedBy =
  (start: StartServer) =>
  async (t: Test): Promise<StoreUnderTest> => {
    const root = t.testdir({});
    const { url } = await start(t, root);
    const http = new HttpObjects(url, {});
    t.teardown(() => http[Symbol.asyncDispose]());
    return {
      writer: writableLayoutStore(new DirectoryObjects(root)),
      reader: layoutStore(http),
      repository: 'localhost:5000/team/app',
      async damage({ digest }, bytes) {
        const path = join(root, blobPath(digest));
        if (bytes) await writeFile(path, bytes);
        else await rm(path);
      },
    };
  };

t.test('nginx', (t) => storeSuite(t, servedBy(startNginx)));
t.test('a server without ranges (python)', (t) => storeSuite(t, servedBy(startPythonHttp)));
