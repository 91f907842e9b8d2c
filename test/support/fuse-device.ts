import { chmod } from 'node:fs/promises';

/** Lets every user use FUSE: what udev does on every machine that has it. */
export async function openFuseToAll(): Promise<void> {
  await chmod('/dev/fuse', 0o666);
}
