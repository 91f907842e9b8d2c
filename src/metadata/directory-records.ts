import type { ByteString } from '../byte-string.js';
import { blockSize, directoryRecord, slotSize } from './erofs-layout.js';
import { recordType } from './erofs-node-type.js';
import { type DirectoryPlan, storedType } from './inode-plan.js';
import type { InodeTable } from './inode-table.js';
import { writeLatin1 } from './write-latin1.js';

/**
 * Cuts a directory's sorted names into blocks; no name crosses a block.
 * @returns for each block, the index after its last record; and the bytes of all
 */
export function packRecords(names: readonly ByteString[]): { blockEnds: number[]; size: number } {
  const blockEnds: number[] = [];
  let used = 0;
  names.forEach((name, index) => {
    const needed = directoryRecord.size + name.length;
    if (used + needed > blockSize) {
      blockEnds.push(index);
      used = 0;
    }
    used += needed;
  });
  blockEnds.push(names.length);
  return { blockEnds, size: (blockEnds.length - 1) * blockSize + used };
}

/** Writes the block of a directory that has the records `first` to `end` - 1, at `at`. */
export function writeRecords(
  out: Buffer,
  at: number,
  inodes: InodeTable,
  directory: DirectoryPlan,
  first: number,
  end: number,
): void {
  let record = at;
  let nameOffset = (end - first) * directoryRecord.size;
  for (let index = first; index < end; index++) {
    const name = directory.names[index];
    const number = directory.inodes[index];
    if (name === undefined || number === undefined) return;
    // A nid has 64 bits; of an image below 4 GiB the upper ones are zero.
    out.writeUInt32LE(inodes.offsetAt(number) / slotSize, record + directoryRecord.nid);
    out.writeUInt16LE(nameOffset, record + directoryRecord.nameOffset);
    out.writeUInt8(recordType(storedType(inodes.nodeAt(number))), record + directoryRecord.type);
    writeLatin1(out, name, at + nameOffset);
    record += directoryRecord.size;
    nameOffset += name.length;
  }
}
