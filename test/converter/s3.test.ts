import t from 'tap';
import { testImage } from '../support/images.js';
import { startS3 } from '../support/s3-server.js';
import { runThinify, testFolder } from './thinify-runs.js';

t.test('to a bucket, and verified from there', async (t) => {
  const s3 = await startS3(t);
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  process.env.AWS_ACCESS_KEY_ID = s3.accessKeyId;
  process.env.AWS_SECRET_ACCESS_KEY = s3.secretAccessKey;
  const flags = ['--to', `s3://${s3.bucket}/images`, '--s3-endpoint', s3.endpoint];
  const words = [`oci:${layout}`, '--name', 'test/image:1', ...flags];
  const first = await runThinify(folder, words);
  t.equal(first.code, 0, first.stderr);
  const again = await runThinify(folder, words);
  t.match(again.stdout, /already published/, again.stderr);
  const verified = await runThinify(folder, ['verify', 'test/image:1', ...flags]);
  t.equal(verified.code, 0, verified.stderr);
  t.match(verified.stdout, /all right/);
});
