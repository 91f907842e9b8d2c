/**
 * A server process for tests that kill it or run it as somebody else:
 * serve-tree.program.ts <raw|fuse-native|best> <mount point> <serve|exit|throw>
 * Serves one file, `greeting`, and one whose reads never end, `stuck`; says `ready` on stdout and `stuck` on
 * stderr when that is read.
 */
import { byteStringFromText } from '../../src/byte-string.js';
import { describeError } from '../../src/errors.js';
import { openFuseNativeTree } from '../../src/fuse/fuse-native-server.js';
import { openTree } from '../../src/fuse/open-tree.js';
import { openRawTree } from '../../src/fuse/raw-tree-server.js';
import type { TreeServerOptions } from '../../src/fuse/tree-server.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { type Contents, directory, file } from './torture-tree.js';

const [implementation = '', mountPoint = '', then = ''] = process.argv.slice(2);

const contents: Contents = new Map();
const greeting = file(contents, Buffer.from('hello\n'));
const stuck = file(contents, Buffer.alloc(100_000, 1));
const options: TreeServerOptions = {
  mountPoint,
  metadata: writeErofs(
    directory([
      [byteStringFromText('greeting'), greeting],
      [byteStringFromText('stuck'), stuck],
    ]),
  ),
  form: 'image',
  tiers: [],
  readFile: async (content, _, offset, length) => {
    if (content === stuck.content) {
      process.stderr.write('stuck\n');
      return new Promise(() => {});
    }
    return (contents.get(content) ?? Buffer.alloc(0)).subarray(offset, offset + length);
  },
  onFirstUse: () => {},
  onReadError: (error) => process.stderr.write(`${describeError(error)}\n`),
  allowOther: false,
};

const onFallback = (reason: string) => process.stderr.write(`${reason}\n`);
const server = await (implementation === 'raw'
  ? openRawTree(options)
  : implementation === 'fuse-native'
    ? openFuseNativeTree(options)
    : openTree(options, onFallback));
process.on('SIGTERM', () => {
  void server[Symbol.asyncDispose]().then(() => process.exit(0));
});
process.stdout.write(`ready ${server.implementation}\n`, () => {
  if (then === 'exit') process.exit(7);
  if (then === 'throw') throw new Error('a defect, by intent');
});
