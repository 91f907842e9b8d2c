import { DeleteObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import t from 'tap';
import { writableLayoutStore } from '../../src/store/layout-store.js';
import { blobPath } from '../../src/store/object-paths.js';
import { S3Objects } from '../../src/store/s3-objects.js';
import { startS3 } from '../support/s3-server.js';
import { storeSuite } from './store-suite.js';

await storeSuite(t, async (t) => {
  const { endpoint, bucket } = await startS3(t);
  const objects = await S3Objects.open(`s3://${bucket}/some/prefix`, { endpoint });
  t.teardown(() => objects[Symbol.asyncDispose]());
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true });
  t.teardown(() => client.destroy());
  const store = writableLayoutStore(objects);
  return {
    writer: store,
    reader: store,
    repository: 'localhost:5000/team/app',
    async damage({ digest }, bytes) {
      const at = { Bucket: bucket, Key: `some/prefix/${blobPath(digest)}` };
      if (bytes) await client.send(new PutObjectCommand({ ...at, Body: bytes }));
      else await client.send(new DeleteObjectCommand(at));
    },
  };
});
