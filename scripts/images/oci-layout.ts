import { spawn } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { copyFile, link, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Digest, digestHex, digestOf, parseDigest } from '../../src/digest.js';

export interface BlobDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export interface LayerBlob {
  readonly descriptor: BlobDescriptor;
  /** Digest of the uncompressed tar. */
  readonly diffId: Digest;
}

export type LayerCompression = 'gzip' | 'zstd' | 'none';

/** As `docker build` (gzip -6, no name or time in the header) and `buildctl` (zstd -3) do. */
const compressors = {
  gzip: { suffix: '+gzip', command: ['gzip', '-6', '--no-name'] },
  zstd: { suffix: '+zstd', command: ['zstd', '-3', '-T1', '--quiet'] },
  none: { suffix: '', command: ['cat'] },
} as const;

/**
 * Writes an OCI image layout: a folder with `oci-layout`, `index.json` and `blobs/sha256/`.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
 */
export class OciLayoutWriter {
  readonly #folder: string;
  #temporaries = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(folder: string): Promise<OciLayoutWriter> {
    await mkdir(join(folder, 'blobs/sha256'), { recursive: true });
    await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}\n');
    return new OciLayoutWriter(folder);
  }

  /** Compresses a tar and stores it as a layer. */
  async addLayer(tar: Readable, compression: LayerCompression): Promise<LayerBlob> {
    const { suffix, command } = compressors[compression];
    const [program, ...args] = command;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) =>
        code === 0 ? resolve() : reject(new Error(`Cannot compress a layer: ${program}: ${code}`)),
      );
    });
    const plain = new Measure();
    const packed = new Measure();
    this.#temporaries += 1;
    const temporary = join(this.#folder, `layer.${this.#temporaries}`);
    await Promise.all([
      pipeline(tar, plain, child.stdin),
      pipeline(child.stdout, packed, createWriteStream(temporary)),
      ended,
    ]);
    await rename(temporary, this.#blobPath(packed.digest()));
    return {
      diffId: plain.digest(),
      descriptor: {
        mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
        digest: packed.digest(),
        size: packed.size,
      },
    };
  }

  /** Takes a blob over from another layout, without a copy where the file system allows it. */
  async adoptBlob(layout: string, digest: Digest): Promise<void> {
    const [from, to] = [blobPath(layout, digest), this.#blobPath(digest)];
    await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EXDEV') throw error;
      await copyFile(from, to);
    });
  }

  async addJson(mediaType: string, value: object): Promise<BlobDescriptor> {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = digestOf(bytes);
    await writeFile(this.#blobPath(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  }

  /** Makes the manifests reachable, each by its tag. The layout is complete with this. */
  async writeIndex(tagged: ReadonlyMap<string, BlobDescriptor>): Promise<void> {
    const manifests = [...tagged].map(([tag, descriptor]) => ({
      ...descriptor,
      annotations: { 'org.opencontainers.image.ref.name': tag },
    }));
    const index = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests,
    };
    await writeFile(join(this.#folder, 'index.json'), JSON.stringify(index));
  }

  #blobPath(digest: Digest): string {
    return blobPath(this.#folder, digest);
  }
}

export function blobPath(layout: string, digest: Digest): string {
  return join(layout, 'blobs/sha256', digestHex(digest));
}

export async function readBlob(layout: string, digest: Digest): Promise<Buffer> {
  return readFile(blobPath(layout, digest));
}

/** Passes bytes on, counted and hashed. */
class Measure extends Transform {
  size = 0;
  readonly #hash: Hash = createHash('sha256');
  #digest: Digest | undefined;

  override _transform(bytes: Buffer, _encoding: string, done: (e: null, b: Buffer) => void): void {
    this.size += bytes.length;
    this.#hash.update(bytes);
    done(null, bytes);
  }

  /** Of all bytes; to be asked for at the end. */
  digest(): Digest {
    this.#digest ??= parseDigest(`sha256:${this.#hash.digest('hex')}`);
    return this.#digest;
  }
}
