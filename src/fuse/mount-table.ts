import { readFile } from 'node:fs/promises';
import { type ByteString, byteStringFromText } from '../byte-string.js';

/** A line of /proc/self/mountinfo. */
export interface MountEntry {
  /** `major:minor` of the file system, as `st_dev` says it. */
  readonly device: string;
  /** Absolute, as this process sees it. */
  readonly mountPoint: ByteString;
  /** With subtype, as `fuse.thinfs`. */
  readonly type: string;
  readonly source: ByteString;
  /** Of the file system, as its driver shows them: `rw,lowerdir=…`. */
  readonly options: string;
}

/** All mounts of this process's mount namespace, in the order they were made. */
export async function readMountTable(): Promise<MountEntry[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** The mount that is seen at `mountPoint`: of several on top of each other, the last. */
export async function findMount(mountPoint: string): Promise<MountEntry | undefined> {
  const wanted = byteStringFromText(mountPoint);
  return (await readMountTable()).findLast((entry) => entry.mountPoint === wanted);
}

/**
 * @param text ISO 8859-1, so that names are bytes
 * @see https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
 */
export function parseMountTable(text: string): MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const [, , device, , mountPoint] = fields;
    const [type, source, options = ''] = fields.slice(fields.indexOf('-', 6) + 1);
    if (!device || !mountPoint || !type || source === undefined) return [];
    const [place, from] = [decodeOctal(mountPoint), decodeOctal(source)];
    return [{ device, mountPoint: place, type, source: from, options }];
  });
}

/** Space, tab, newline, backslash and # are written as `\` and three octal digits. */
function decodeOctal(field: string): ByteString {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  ) as ByteString;
}
