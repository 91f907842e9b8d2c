import { type Digest, digestFromBytes, digestHex, digestSize } from '../digest.js';
import type { LayerEntry } from '../image/layer-entry.js';
import type { Attributes, FileNode, Time } from '../image/tree.js';

/** Bytes that are taken for digests at a time. */
const chunkBytes = 2048 * digestSize;

/**
 * Files of a tree whose digests are 32 bytes each, outside the JavaScript heap: as texts they are a third of a
 * tree, which the collector copies twice.
 */
export class MergedFiles {
  #chunk: Buffer = Buffer.alloc(0);
  #filled: number = 0;

  make(entry: Extract<LayerEntry, { type: 'file' }>): FileNode {
    if (this.#filled === this.#chunk.length) {
      this.#chunk = Buffer.allocUnsafeSlow(chunkBytes);
      this.#filled = 0;
    }
    const at = this.#filled;
    this.#chunk.write(digestHex(entry.content), at, 'hex');
    this.#filled += digestSize;
    return new MergedFile(entry, this.#chunk, at);
  }
}

/** Writes the 32 bytes of a file's digest, which need no text where they are kept so. */
export function writeDigest(file: FileNode, out: Buffer, at: number): void {
  if (file instanceof MergedFile) file.copyDigest(out, at);
  else out.write(digestHex(file.content), at, 'hex');
}

class MergedFile implements FileNode {
  readonly type = 'file';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Time;
  readonly xattrs: Attributes['xattrs'];
  readonly size: number;
  readonly #digests: Buffer;
  readonly #at: number;

  constructor(entry: Extract<LayerEntry, { type: 'file' }>, digests: Buffer, at: number) {
    this.mode = entry.mode;
    this.uid = entry.uid;
    this.gid = entry.gid;
    this.mtime = entry.mtime;
    this.xattrs = entry.xattrs;
    this.size = entry.size;
    this.#digests = digests;
    this.#at = at;
  }

  copyDigest(out: Buffer, at: number): void {
    this.#digests.copy(out, at, this.#at, this.#at + digestSize);
  }

  get content(): Digest {
    return digestFromBytes(this.#digests, this.#at);
  }
}
