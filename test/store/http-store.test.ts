import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { blobPath } from '../../src/store/object-paths.js';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import { type StaticHttp, startNginx, startPythonHttp } from '../support/static-http.js';
import { never, type StoreUnderTest, storeSuite } from './store-suite.js';

type StartServer = (t: Test, root: string) => Promise<StaticHttp>;

/** A directory store writes, a web server over the same folder is read. */
const servedBy =
  (start: StartServer) =>
  async (t: Test): Promise<StoreUnderTest> => {
    const root = t.testdir({});
    const { url } = await start(t, root);
    const writer = await openWritableStore(`dir:${root}`, {}, never);
    const reader = await openStore(url, {}, never);
    t.teardown(() => reader[Symbol.asyncDispose]());
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
  };

t.test('nginx', (t) => storeSuite(t, servedBy(startNginx)));
t.test('a server without ranges (python)', (t) => storeSuite(t, servedBy(startPythonHttp)));
