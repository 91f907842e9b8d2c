import { endianness } from 'node:os';

/** Whether the first byte of this machine's words is the lowest. */
export const isLittleEndian = endianness() === 'LE';
