import t from 'tap';
import { type NodeParts, NodeView } from '../../src/daemon/node-view.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';

t.test(
  'reads of an image that is damaged on this node are told of without their paths',
  async (t) => {
    const manifest = digestOf(Buffer.from('image'));
    const read = {
      ...{ content: digestOf(Buffer.from('file')), size: 9, offset: 1, length: 2, since: 0 },
      origin: { id: manifest },
    };
    const record = { manifest, digests: {}, references: ['a:1'], sources: [] };
    const parts = {
      cache: { reads: { list: () => [read] } },
      images: { list: () => [record], get: () => record },
      live: { get: () => Promise.reject(new ThinError('corrupt', 'its digest is another one')) },
      mounts: () => [],
    };
    const view = new NodeView(parts as unknown as NodeParts);
    t.match(await view.waiting(), [{ content: read.content, paths: [], reference: 'a:1' }]);
  },
);
