import { writeFileSync } from 'node:fs';
import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { type ImageName, pushToRegistry, testImage } from '../support/images.js';

t.setTimeout(3600_000);
const r = await startRegistry(t);
for (const n of process.argv.slice(2) as ImageName[])
  await pushToRegistry(await testImage(n), `${r.host}/${n}:1`);
writeFileSync('/tmp/cli-reg.host', r.host);
await new Promise((resolve) => process.once('SIGTERM', resolve));
