import { pino } from 'pino';
import t from 'tap';
import type { FileCache } from '../../src/cache/file-cache.js';
import type { LiveImage } from '../../src/daemon/live-image.js';
import { Trees } from '../../src/daemon/trees.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { temporaryFolder, until } from '../fuse/mounted-tree.js';

const mtime = { seconds: 0, nanoseconds: 0 };
const attributes = { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: new Map() };
const metadata = writeErofs({ ...attributes, type: 'directory', children: new Map() });

t.test('an index that cannot be written when a tree ends costs a line of the log', async (t) => {
  const folder = await temporaryFolder(t);
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line) => void lines.push(line) });
  const cache = {
    tierDirectories: [],
    mountImage: async () => undefined,
    unmountImage: async () => {
      throw new ThinError('unavailable', 'Cannot use cache index: disk I/O error');
    },
  };
  const trees = new Trees(folder, cache as unknown as FileCache, log, () => {});
  const image = { manifest: digestOf(Buffer.from('image')), metadata, files: () => [] };
  const server = await trees.mount(image as unknown as LiveImage, folder, 'image');
  await server[Symbol.asyncDispose]();
  await until('it is told', () => lines.length === 1);
  t.match(lines[0], /disk I\/O error/);
});
