import { statfs } from 'node:fs/promises';
import { type ByteString, byteStringFromText, byteStringToBuffer } from '../byte-string.js';
import { detachPath, mountSource, mountType } from '../fuse/kernel-mount.js';
import { type MountEntry, readMountTable } from '../fuse/mount-table.js';
import { metadataType } from './metadata-mount.js';

/** Milliseconds for a living server to answer statfs(2), which it does from memory. */
const answerTimeoutMs = 5_000;

/**
 * `tree`: a FUSE mount, of a whole image or of files by content. `overlay`: changes on top of a tree.
 * `metadata`, `composed`: an image's metadata, and a root that the kernel makes of it.
 */
export type MountKind = 'tree' | 'overlay' | 'metadata' | 'composed';

export interface FoundMount {
  readonly mountPoint: string;
  readonly kind: MountKind;
  /** It goes on: its server answers, or will when it is there again. */
  readonly alive: boolean;
}

export interface Leftovers {
  /** Mount points that were taken away. */
  readonly detached: readonly string[];
  /** What goes on, for the caller to adopt. */
  readonly alive: readonly FoundMount[];
}

/**
 * Takes away the mounts that a killed server left at or below `directory` and that nothing can bring
 * back: trees whose server is gone, overlays, and composed roots with their metadata unless the file
 * server behind them goes on. Their loop devices go with them. The caller makes sure that nobody
 * serves `directory` now (it holds the lock of its root). Programs that still run in what is taken
 * away keep it, and get errors for what is neither local nor cached.
 * @param objects mount point of the file server that composed roots below `directory` read from
 */
export async function detachLeftovers(directory: string, objects?: string): Promise<Leftovers> {
  const detached: string[] = [];
  const alive: FoundMount[] = [];
  const found = await findMounts(directory, objects);
  for (const mount of found.reverse()) {
    if (mount.alive) {
      alive.push(mount);
      continue;
    }
    await detachPath(mount.mountPoint);
    detached.push(mount.mountPoint);
  }
  return { detached, alive };
}

/** Our mounts at or below `directory`, in the order they were made; `objects` as above. */
async function findMounts(directory: string, objects?: string): Promise<FoundMount[]> {
  const within = byteStringFromText(directory);
  const table = await readMountTable();
  const served = objects !== undefined && (await isServedTree(table, objects));
  const found: FoundMount[] = [];
  for (const entry of table) {
    const kind = kindOf(entry);
    if (kind === undefined || !isWithin(entry.mountPoint, within)) continue;
    const mountPoint = byteStringToBuffer(entry.mountPoint).toString('utf8');
    const alive = kind === 'tree' ? await isServed(mountPoint) : kind !== 'overlay' && served;
    found.push({ mountPoint, kind, alive });
  }
  return found;
}

/** Undefined for mounts of others. Of EROFS mounts, those in our own folders are ours. */
function kindOf({ type, source, options }: MountEntry): MountKind | undefined {
  if (type === mountType) return 'tree';
  if (type === metadataType) return 'metadata';
  if (type !== 'overlay' || source !== mountSource) return undefined;
  return hasDataLayers.test(options) ? 'composed' : 'overlay';
}

/** As the kernel shows what it was told with fsconfig(2), or with mount(2). */
const hasDataLayers = /(^|,)(datadir\+=|lowerdir=[^,]*::)/;

function isWithin(path: ByteString, directory: ByteString): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

async function isServedTree(table: readonly MountEntry[], path: string): Promise<boolean> {
  const wanted = byteStringFromText(path);
  const top = table.findLast(({ mountPoint }) => mountPoint === wanted);
  return top?.type === mountType && isServed(path);
}

/** ENOTCONN means that the server is gone. One that does not answer may only be stopped. */
async function isServed(path: string): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, answerTimeoutMs, true);
  });
  const answered = statfs(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOTCONN' && error.code !== 'ECONNABORTED',
  );
  try {
    return await Promise.race([answered, late]);
  } finally {
    clearTimeout(timer);
  }
}
