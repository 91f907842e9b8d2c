import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

/** What the tests need of the kernel: mounts that go away again, and what it shows in them. */
interface Test {
  teardown(clean: () => void): void;
}

/** A directory that is removed after the test. */
export function scratchDirectory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'erofs-test-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Mounts over the loop device, as mount(8) does with a file. */
export function mountLoop(t: Test, image: string, target: string): void {
  mount(t, target, ['mount', '-t', 'erofs', '-o', 'ro,loop', image, target]);
}

/** Mounts the file itself, which mount(8) of Debian 12 cannot. */
export function mountFile(t: Test, image: string, target: string): void {
  const script = [
    'import ctypes, os, sys',
    'mount = ctypes.CDLL(None, use_errno=True).mount',
    "failed = mount(sys.argv[1].encode(), sys.argv[2].encode(), b'erofs', 1, None)",
    'sys.exit(os.strerror(ctypes.get_errno()) if failed else 0)',
  ].join('\n');
  mount(t, target, ['python3', '-c', script, image, target]);
}

/** Joins a metadata mount with a directory of objects, read-only. */
export function mountComposed(t: Test, metadata: string, objects: string, target: string): void {
  const options = `ro,lowerdir=${metadata}::${objects},metacopy=on,xino=auto`;
  mount(t, target, ['mount', '-t', 'overlay', 'overlay', '-o', options, target]);
}

function mount(t: Test, target: string, [program = '', ...args]: string[]): void {
  mkdirSync(target, { recursive: true });
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(() => execFileSync('umount', ['-l', target]));
}

/** fsck.erofs of Debian's erofs-utils is the judge. Throws, with what it said, if it objects. */
export function checkImage(image: string): void {
  execFileSync('fsck.erofs', [image], { stdio: ['ignore', 'pipe', 'pipe'] });
}

const shown = z.object({
  path: z.string(),
  mode: z.number(),
  uid: z.number(),
  gid: z.number(),
  mtime: z.string(),
  nlink: z.number(),
  inode: z.string(),
  size: z.number(),
  device: z.string(),
  target: z.string(),
  xattrs: z.record(z.string(), z.string()),
});
export type Shown = z.infer<typeof shown>;

/** Everything below a directory, by path. */
export function kernelView(directory: string): Map<string, Shown> {
  const script = join(import.meta.dirname, 'lstat-walk.py');
  const text = execFileSync('python3', [script, directory], { maxBuffer: 2 ** 30 }).toString();
  const lines = text.trimEnd().split('\n');
  const all = lines.map((line) => shown.parse(JSON.parse(line)));
  return new Map(all.map((one) => [one.path, one]));
}
