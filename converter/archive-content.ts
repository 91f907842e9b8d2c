import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { z } from 'zod';
import { byteStringToBuffer } from '../src/byte-string.js';
import { type Digest, parseDigest } from '../src/digest.js';
import { fromSystemError, ThinError } from '../src/errors.js';
import { parseJsonDocument } from '../src/image/json-document.js';
import type { TarEntry } from '../src/image/layer-entry.js';
import { readLayer } from '../src/layer/read-layer.js';
import type { TarEvent } from '../src/layer/tar-event.js';
import { limits } from '../src/limits.js';
import type { ImageContent } from './image-content.js';
import { readBlobFile } from './layout-content.js';
import type { Spool } from './spool.js';
import { type LooseLayer, syntheticImage } from './synthetic-image.js';

/** One file of the archive, unpacked under a number: names of the archive are no names of ours. */
interface Unpacked {
  readonly path: string;
  readonly digest: Digest;
  readonly size: number;
  readonly compression: LooseLayer['compression'];
}

const manifestSchema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: z.array(z.string()).optional(),
    Layers: z.array(z.string()).max(limits.layersMax),
  }),
);

/** Links of old archives that lead from one layer's folder to another's. */
const linksMax = 8;

/**
 * The image of a `docker save` archive, plain or compressed, unpacked into the spool.
 * @throws ThinError `corrupt` if it is none; `invalid` if it holds several images
 */
export async function archiveContent(
  archive: string,
  spool: Spool,
  signal: AbortSignal,
): Promise<ImageContent> {
  const files = new ArchiveFiles(spool);
  const events = readLayer(readBlobFile(archive, 0, signal), { signal });
  try {
    for await (const batch of events) for (const event of batch) await files.take(event);
  } finally {
    await files.close();
  }
  const shown = `docker-archive:${archive}`;
  const listed = parseJsonDocument(
    `manifest.json of ${shown}`,
    await readFound(files, 'manifest.json', shown),
    manifestSchema,
  );
  const [image] = listed;
  if (!image || listed.length !== 1) {
    throw new ThinError('invalid', `Cannot convert ${shown}: ${listed.length} images (wanted one)`);
  }
  const config = await readFound(files, image.Config, shown);
  const layers = image.Layers.map((name) => looseLayer(files.find(name, shown)));
  return syntheticImage(shown, image.RepoTags?.[0], config, layers);
}

function looseLayer({ path, digest, size, compression }: Unpacked): LooseLayer {
  return {
    digest,
    size,
    compression,
    open: (offset, signal) => readBlobFile(path, offset, signal),
  };
}

async function readFound(files: ArchiveFiles, name: string, shown: string): Promise<Buffer> {
  const { path, size } = files.find(name, shown);
  if (size <= limits.manifestBytesMax) return await readFile(path);
  throw new ThinError(
    'corrupt',
    `Cannot read ${name} of ${shown}: ${size} bytes (wanted at most ${limits.manifestBytesMax})`,
  );
}

/** Unpacks the regular files of an archive as they come. */
class ArchiveFiles {
  readonly #spool: Spool;
  readonly #files = new Map<string, Unpacked>();
  readonly #links = new Map<string, string>();
  #current: FileInArchive | undefined;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  async take(event: TarEvent): Promise<void> {
    if (event.type === 'entry') await this.#begin(event.entry);
    else if (event.type === 'data') await this.#current?.write(event.bytes);
    else if (event.type === 'hole') {
      throw new ThinError('corrupt', 'Cannot read archive: it has a sparse file');
    } else await this.#end();
  }

  async #begin(entry: TarEntry): Promise<void> {
    const name = byteStringToBuffer(entry.path).toString('utf8');
    if (entry.type === 'symlink') {
      const target = byteStringToBuffer(entry.target).toString('utf8');
      this.#links.set(name, posix.join(posix.dirname(name), target));
    } else if (entry.type === 'hardlink') {
      this.#links.set(name, byteStringToBuffer(entry.target).toString('utf8'));
    } else if (entry.type === 'file') {
      this.#current = await FileInArchive.create(name, this.#spool.path());
    }
  }

  async #end(): Promise<void> {
    const file = this.#current;
    if (!file) return;
    this.#files.set(file.name, await file.finish());
    this.#current = undefined;
  }

  find(name: string, shown: string): Unpacked {
    let at = posix.normalize(name);
    for (let links = 0; links < linksMax; links++) {
      const found = this.#files.get(at);
      if (found) return found;
      const target = this.#links.get(at);
      if (target === undefined) break;
      at = target;
    }
    throw new ThinError('corrupt', `Cannot read ${shown}: it has no ${name}`);
  }

  async close(): Promise<void> {
    await this.#current?.finish();
  }
}

class FileInArchive {
  readonly name: string;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  #size = 0;
  #head = Buffer.alloc(0);

  private constructor(name: string, path: string, file: FileHandle) {
    this.name = name;
    this.#path = path;
    this.#file = file;
  }

  static async create(name: string, path: string): Promise<FileInArchive> {
    try {
      return new FileInArchive(name, path, await open(path, 'wx', 0o600));
    } catch (error) {
      throw fromSystemError(`Cannot unpack ${name}`, error);
    }
  }

  async write(bytes: Buffer): Promise<void> {
    if (this.#head.length < magicBytes) {
      this.#head = Buffer.concat([this.#head, bytes.subarray(0, magicBytes)]);
    }
    this.#hash.update(bytes);
    this.#size += bytes.length;
    try {
      await this.#file.appendFile(bytes);
    } catch (error) {
      throw fromSystemError(`Cannot unpack ${this.name}`, error);
    }
  }

  async finish(): Promise<Unpacked> {
    await this.#file.close();
    const digest = parseDigest(`sha256:${this.#hash.digest('hex')}`);
    const compression = compressionOf(this.#head);
    return { path: this.#path, digest, size: this.#size, compression };
  }
}

/** Bytes that tell gzip and zstd (RFC 1952, RFC 8878). */
const magicBytes = 4;

function compressionOf(head: Buffer): LooseLayer['compression'] {
  const magic = head.toString('hex');
  if (magic.startsWith('1f8b')) return 'gzip';
  return magic.startsWith('28b52ffd') ? 'zstd' : 'none';
}
