import {
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import t from 'tap';
import { blobPath } from '../../src/store/object-paths.js';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import { startS3 } from '../support/s3-server.js';
import { failsWith, never, putRandom, readAll, storeSuite } from './store-suite.js';

const { endpoint, bucket, stop } = await startS3(t);
const location = `s3://${bucket}/some/prefix`;
const options = { s3: { endpoint } };
const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true });
t.teardown(() => client.destroy());
const writer = await openWritableStore(location, options, never);
t.teardown(() => writer[Symbol.asyncDispose]());
const reader = await openStore(location, options, never);
t.teardown(() => reader[Symbol.asyncDispose]());

await storeSuite(t, async () => ({
  writer: writer.store,
  reader: reader.store,
  repository: 'localhost:5000/team/app',
  async damage({ digest }, bytes) {
    const at = { Bucket: bucket, Key: `some/prefix/${blobPath(digest)}` };
    if (bytes) await client.send(new PutObjectCommand({ ...at, Body: bytes }));
    else await client.send(new DeleteObjectCommand(at));
  },
}));

t.test('uploads that failed leave no parts behind', async (t) => {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  t.strictSame(Uploads, []);
});

t.test('the wrong account and the wrong bucket are told apart', async (t) => {
  const { blob } = await putRandom(writer.store, 10);
  await using elsewhere = await openStore('s3://no-such-bucket', options, never);
  await failsWith(t, 'not-found', readAll(elsewhere.store, blob));
  const right = process.env.AWS_SECRET_ACCESS_KEY;
  process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
  t.teardown(() => {
    process.env.AWS_SECRET_ACCESS_KEY = right;
  });
  await using stranger = await openStore(location, options, never);
  await failsWith(t, 'denied', readAll(stranger.store, blob));
});

t.test('an outage is told as that', async (t) => {
  const { blob } = await putRandom(writer.store, 10);
  await stop();
  await failsWith(t, 'unavailable', readAll(reader.store, blob));
  await failsWith(t, 'unavailable', putRandom(writer.store, 10));
});
