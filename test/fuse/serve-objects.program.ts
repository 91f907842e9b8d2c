/**
 * A server of F for tests that kill it: serve-objects.program.ts <settings.json>, with the
 * descriptor of /dev/fuse as 3. Says `ready <takeover>` when it serves, and then `busy` when it has been
 * asked for a number of reads; each waits a little, so that some are always under way.
 */
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { FileRef } from '../../src/cache/file-origin.js';
import { type Digest, digestHex } from '../../src/digest.js';
import { describeError } from '../../src/errors.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { ObjectImages } from '../../src/fuse/object-images.js';
import { ObjectServer } from '../../src/fuse/object-server.js';

export interface ServerSettings {
  readonly mountPoint: string;
  readonly tiers: readonly string[];
  /** Folder with all files, by the hex digits of their digest. */
  readonly store: string;
  readonly images: readonly { readonly image: Digest; readonly files: readonly FileRef[] }[];
}

const readsUntilBusy = 60;
const readMs = 3;

const settings: ServerSettings = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const images = new ObjectImages();
for (const { image, files } of settings.images) images.add(await makeFileList(image, files));
let reads = Number.NEGATIVE_INFINITY; // who takes over may be asked before it can say that it is ready

const server = await ObjectServer.open({
  device: 3,
  mountPoint: settings.mountPoint,
  tiers: settings.tiers,
  images,
  readFile: async (_, { content }, offset, length) => {
    reads += 1;
    if (reads === readsUntilBusy) process.stdout.write('busy\n');
    await delay(readMs);
    const bytes = Buffer.alloc(length);
    await using file = await open(join(settings.store, digestHex(content)));
    const { bytesRead } = await file.read(bytes, 0, length, offset);
    return bytes.subarray(0, bytesRead);
  },
  onFirstUse: () => {},
  onReadError: (error) => process.stderr.write(`${describeError(error)}\n`),
});
process.on('SIGTERM', () => {
  void server.close().then(() => process.exit(0));
});
process.on('SIGUSR2', () => process.exit(7));
reads = 0;
process.stdout.write(`ready ${server.resend} ${server.attached}\n`);
const failure = await server.ended;
if (failure) throw failure;
