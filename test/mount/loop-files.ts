import { readdir, readFile } from 'node:fs/promises';

/** The files that are attached to loop devices now. */
export async function loopFiles(): Promise<string[]> {
  const devices = (await readdir('/sys/block')).filter((name) => name.startsWith('loop'));
  const files = devices.map((name) =>
    readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => ''),
  );
  return (await Promise.all(files)).map((text) => text.trim()).filter((text) => text !== '');
}
