import { createCipheriv, createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Programs of busybox that containers of the tests run. */
const programs = 'sh cat cmp dd echo find head ls sha256sum sleep sort tail test wc xargs'.split(
  ' ',
);

/**
 * A small image's tree for `thinify dir:<folder>`: busybox, two accounts, and `count` files
 * `/data/<n>` of `bytes` bytes each, which no compression makes smaller: a frame or more for each.
 * @param seed of their content
 */
export function makeRootfs(
  folder: string,
  { count, bytes, seed = 'thinfs' }: { count: number; bytes: number; seed?: string },
): void {
  for (const name of ['bin', 'etc', 'data', 'tmp', 'proc', 'sys', 'dev']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(folder, 'bin/busybox'));
  for (const name of programs) symlinkSync('busybox', join(folder, 'bin', name));
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\n');
  for (let n = 0; n < count; n++) {
    writeFileSync(join(folder, 'data', String(n)), pseudoRandom(`${seed} ${n}`, bytes));
  }
}

/** The same bytes for the same seed: a stream cipher's. */
export function pseudoRandom(seed: string, bytes: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}
