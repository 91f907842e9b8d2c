import { gzipSync } from 'node:zlib';
import { archive, bytes, directory, file } from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const tree = { d: { type: 'directory' }, 'd/f': { type: 'file', content: 'layer' } } as const;
const plain = archive(directory('d/'), file('d/f', 'layer'));

/** A zstd frame of stored blocks, by hand (RFC 8878, 3.1.1). */
export function storedZstdFrame(content: Buffer): Buffer {
  const frameHeader = Buffer.alloc(9);
  frameHeader.writeUInt32LE(0xfd2fb528, 0);
  frameHeader[4] = 0xa0; // a content size of 4 bytes, a single segment
  frameHeader.writeUInt32LE(content.length, 5);
  const pieces: Buffer[] = [frameHeader];
  for (let at = 0; at === 0 || at < content.length; at += 2 ** 17) {
    const piece = content.subarray(at, at + 2 ** 17);
    const blockHeader = Buffer.alloc(3);
    const last = at + piece.length === content.length ? 1 : 0;
    blockHeader.writeUIntLE(piece.length * 8 + last, 0, 3);
    pieces.push(blockHeader, piece);
  }
  return Buffer.concat(pieces);
}

export function skippableZstdFrame(content: Buffer): Buffer {
  const frameHeader = Buffer.alloc(8);
  frameHeader.writeUInt32LE(0x184d2a57, 0);
  frameHeader.writeUInt32LE(content.length, 4);
  return Buffer.concat([frameHeader, content]);
}

/** L26 and L29: how an archive is wrapped, and where it ends. */
export function formatCases(): TortureCase[] {
  const middle = plain.subarray(0, 700);
  const rest = plain.subarray(700);
  const accepted: Record<string, Buffer> = {
    'a plain archive': plain,
    'garbage behind the end of the archive': Buffer.concat([plain, bytes('garbage'.repeat(200))]),
    'another archive behind the end': Buffer.concat([plain, archive(file('never'))]),
    'no zero blocks at the end': plain.subarray(0, -1024),
    'a single zero block at the end': plain.subarray(0, -512),
    'no padding behind the last file': plain.subarray(0, -1024 - 507),
    'zeros for a whole record of 10 KiB': Buffer.concat([plain, Buffer.alloc(8192)]),
    'one gzip member': gzipSync(plain),
    'several gzip members': Buffer.concat([
      gzipSync(middle),
      gzipSync(Buffer.alloc(0)),
      gzipSync(rest),
    ]),
    'zeros behind the last gzip member': Buffer.concat([gzipSync(plain), Buffer.alloc(700)]),
    'one zstd frame': storedZstdFrame(plain),
    'several zstd frames, and skippable ones before, between and behind': Buffer.concat([
      skippableZstdFrame(bytes('toc')),
      storedZstdFrame(middle),
      skippableZstdFrame(Buffer.alloc(0)),
      storedZstdFrame(rest),
      skippableZstdFrame(bytes('footer')),
    ]),
  };
  const empty: Record<string, Buffer> = {
    'of no bytes': Buffer.alloc(0),
    'of two zero blocks': Buffer.alloc(1024),
    'of no bytes, in gzip': gzipSync(Buffer.alloc(0)),
    'of no bytes, in zstd': storedZstdFrame(Buffer.alloc(0)),
  };
  const damaged = gzipSync(plain);
  damaged[damaged.length - 6] = (damaged[damaged.length - 6] ?? 0) ^ 1;
  const refused: Record<string, Buffer> = {
    'gzip that is cut off': gzipSync(plain).subarray(0, -10),
    'gzip with a wrong checksum': damaged,
    'gzip with garbage behind it': Buffer.concat([gzipSync(plain), bytes('garbage')]),
    'zstd that is cut off': storedZstdFrame(plain).subarray(0, -10),
    'zstd with garbage behind it': Buffer.concat([storedZstdFrame(plain), bytes('garbage')]),
    'a second gzip member that is cut off': Buffer.concat([
      gzipSync(plain),
      gzipSync(plain).subarray(0, 30),
    ]),
    'a compression that is no layer (bzip2)': bytes('BZh91AY&SY\0\0\0\0'),
    'a compression that is no layer (xz)': bytes('\xfd7zXZ\0\0\x04\0\0\0\0'),
    'no archive at all': bytes('{"schemaVersion":2}'.repeat(100)),
  };
  return [
    ...Object.entries(accepted).map(([name, layer]) => ({
      rule: 'L26',
      name,
      layers: [layer],
      expected: tree,
    })),
    ...Object.entries(empty).map(([name, layer]) => ({
      rule: 'L26',
      name: `a layer ${name} is empty`,
      layers: [plain, layer],
      expected: tree,
    })),
    ...Object.entries(refused).map(([name, layer]) => ({
      rule: name.includes('compression') ? 'L29' : 'L26',
      name,
      layers: [layer],
      expected: /Cannot (read layer|inflate)/,
    })),
  ];
}
