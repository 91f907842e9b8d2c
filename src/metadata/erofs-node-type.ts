import type { NodeType } from '../image/tree.js';

/** How a type is kept: the S_IFMT bits of an inode's mode, and the byte in a directory record. */
const typeNumbers: Readonly<Record<NodeType, { format: number; record: number }>> = {
  file: { format: 0o100000, record: 1 },
  directory: { format: 0o040000, record: 2 },
  character: { format: 0o020000, record: 3 },
  block: { format: 0o060000, record: 4 },
  fifo: { format: 0o010000, record: 5 },
  socket: { format: 0o140000, record: 6 },
  symlink: { format: 0o120000, record: 7 },
};

const typeOfRecord: (NodeType | undefined)[] = [];
const typeOfFormat: (NodeType | undefined)[] = [];
for (const type of Object.keys(typeNumbers).filter(isNodeType)) {
  typeOfRecord[typeNumbers[type].record] = type;
  typeOfFormat[typeNumbers[type].format >> 12] = type;
}

function isNodeType(name: string): name is NodeType {
  return name in typeNumbers;
}

export function formatBits(type: NodeType): number {
  return typeNumbers[type].format;
}

export function recordType(type: NodeType): number {
  return typeNumbers[type].record;
}

export function nodeTypeOfMode(mode: number): NodeType | undefined {
  return typeOfFormat[mode >> 12];
}

export function nodeTypeOfRecord(byte: number): NodeType | undefined {
  return typeOfRecord[byte];
}
