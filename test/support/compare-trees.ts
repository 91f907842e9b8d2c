import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type ByteString, displayByteString } from '../../src/byte-string.js';
import { runCommand } from './run-command.js';

const snapshotScript = fileURLToPath(new URL('./snapshot-tree.py', import.meta.url));

const byteString = z.string().transform((text) => text as ByteString);

const entrySchema = z.object({
  /** From the root of the tree, without a leading slash; empty for the root itself. */
  path: byteString,
  type: z.enum(['file', 'directory', 'symlink', 'character', 'block', 'fifo', 'socket']),
  /** Permission bits with setuid, setgid and sticky. */
  mode: z.number(),
  uid: z.number(),
  gid: z.number(),
  /** Nanoseconds since 1970, in decimal: they do not fit a number. */
  mtime: z.string(),
  /** Values in hexadecimal. */
  xattrs: z.record(z.string(), z.string()),
  /** Of all but directories, whose number of links is a matter of the file system. */
  nlink: z.number().optional(),
  /** The first path, in the order of the walk, that has the same inode. */
  linkedWith: byteString.optional(),
  /** Bytes, of files and symbolic links. */
  size: z.number().optional(),
  /** SHA-256 of a file's content. */
  content: z.string().optional(),
  target: byteString.optional(),
  /** `major:minor`. */
  device: z.string().optional(),
});

export type TreeEntry = z.infer<typeof entrySchema>;
export type TreeSnapshot = ReadonlyMap<ByteString, TreeEntry>;

export interface TreeDifference {
  readonly path: string;
  /** A field of {@link TreeEntry}, `xattr <name>`, or `existence`. */
  readonly what: string;
  readonly expected: string;
  readonly actual: string;
}

const comparedFields = [
  'type',
  'mode',
  'uid',
  'gid',
  'mtime',
  'nlink',
  'linkedWith',
  'size',
  'content',
  'target',
  'device',
] as const;

export type ComparedField = (typeof comparedFields)[number];

/**
 * Reads everything that a program can see of a tree. Needs root for `trusted.*` attributes.
 * @throws Error if the tree cannot be read, or lists a directory in two ways.
 */
export async function snapshotTree(folder: string): Promise<TreeSnapshot> {
  const { stdout } = await runCommand('python3', [snapshotScript, folder]);
  const entries = z.array(entrySchema).parse(JSON.parse(stdout));
  return new Map(entries.map((entry) => [entry.path, entry]));
}

/** What differs between two trees, in the order of the first one's walk. Equal trees give `[]`. */
export function compareTrees(expected: TreeSnapshot, actual: TreeSnapshot): TreeDifference[] {
  const missing = [...expected.values()].flatMap((entry) => {
    const other = actual.get(entry.path);
    return other ? compareEntries(entry, other) : [existence(entry.path, 'exists', 'is missing')];
  });
  const added = [...actual.keys()]
    .filter((path) => !expected.has(path))
    .map((path) => existence(path, 'does not exist', 'exists'));
  return [...missing, ...added];
}

/** A few lines for a failed assertion. */
export function describeDifferences(differences: readonly TreeDifference[], linesMax = 20): string {
  const lines = differences
    .slice(0, linesMax)
    .map((at) => `/${at.path}: ${at.what}: ${at.actual} (wanted ${at.expected})`);
  const more = differences.length - lines.length;
  return [...lines, ...(more > 0 ? [`and ${more} more`] : [])].join('\n');
}

function compareEntries(expected: TreeEntry, actual: TreeEntry): TreeDifference[] {
  const path = displayByteString(expected.path);
  const fields = comparedFields
    .filter((field) => expected[field] !== actual[field])
    .map((what) => ({ path, what, expected: show(expected[what]), actual: show(actual[what]) }));
  const names = new Set([...Object.keys(expected.xattrs), ...Object.keys(actual.xattrs)]);
  const xattrs = [...names]
    .filter((name) => expected.xattrs[name] !== actual.xattrs[name])
    .map((name) => ({
      path,
      what: `xattr ${name}`,
      expected: show(expected.xattrs[name]),
      actual: show(actual.xattrs[name]),
    }));
  return [...fields, ...xattrs];
}

function existence(path: ByteString, expected: string, actual: string): TreeDifference {
  return { path: displayByteString(path), what: 'existence', expected, actual };
}

function show(value: string | number | undefined): string {
  return value === undefined ? 'none' : String(value);
}
