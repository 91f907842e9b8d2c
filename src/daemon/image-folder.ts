import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Digest, digestHex, digestOf, isDigest, parseDigest } from '../digest.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { makeFolder } from '../make-folder.js';

/**
 * The images of this node: `images/<hex of the manifest digest>/` with `image.json`, `config.json`,
 * `metadata.erofs` and, for a thin image, `descriptor.json` and `chunk-map`. A folder appears by
 * rename, whole; afterwards only `image.json` changes, and `file-list` comes, also by rename.
 */
const imageFileNames = ['config', 'metadata', 'descriptor', 'chunkMap'] as const;
export type ImageFileName = (typeof imageFileNames)[number];

/** A file below the node's root that becomes one of an image, by rename. Not synced. */
export interface WrittenFile {
  readonly path: string;
  readonly digest: Digest;
}

/** The files of a new image; the last two are absent for one that was pulled in full. */
export type ImageFiles = Readonly<Record<'config' | 'metadata', Buffer | WrittenFile>> &
  Readonly<Partial<Record<'descriptor' | 'chunkMap', Buffer>>>;

const recordVersion = 1;

const pathNames: Readonly<Record<ImageFileName, string>> = {
  config: 'config.json',
  metadata: 'metadata.erofs',
  descriptor: 'descriptor.json',
  chunkMap: 'chunk-map',
};

/** Where a thin image's packs are: enough to go on fetching after a restart, never a secret. */
const imageSource = z.object({
  /** `registry/repository`, or a store as `thin run --store` takes it. */
  location: z.string(),
  plainHttp: z.boolean().optional(),
  caFile: z.string().optional(),
  s3Endpoint: z.string().optional(),
  s3Region: z.string().optional(),
});

const imageRecord = z.object({
  version: z.literal(recordVersion),
  manifest: z.string().refine(isDigest),
  kind: z.enum(['thin', 'pulled']),
  platform: z.string(),
  references: z.array(z.string()),
  sources: z.array(imageSource),
  /** Of the files beside the record, checked when they are read: disks lie. */
  digests: z.partialRecord(z.enum(imageFileNames), z.string().refine(isDigest)),
  fileBytes: z.number().int().nonnegative(),
  files: z.number().int().nonnegative(),
  /** Milliseconds since 1970. */
  lastUsed: z.number(),
});

export type ImageSource = z.infer<typeof imageSource>;
export type ImageRecord = z.infer<typeof imageRecord>;
export type NewImage = Omit<ImageRecord, 'version' | 'digests'>;

export class ImageFolder {
  readonly #folder: string;
  readonly #records = new Map<Digest, ImageRecord>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads what is there. Folders that are not whole (a crash, a newer version) are left out. */
  static async open(root: string, onSkipped: (error: ThinError) => void): Promise<ImageFolder> {
    const images = new ImageFolder(join(root, 'images'));
    await makeFolder(images.#folder, 0o700);
    for (const name of await readdir(images.#folder)) {
      const path = join(images.#folder, name);
      if (name.startsWith('.')) {
        await rm(path, { recursive: true, force: true });
        continue;
      }
      try {
        const record = await readRecord(join(path, 'image.json'));
        images.#records.set(parseDigest(record.manifest), record);
      } catch (error) {
        onSkipped(fromSystemError(`Cannot use image folder ${path}`, error));
      }
    }
    return images;
  }

  list(): ImageRecord[] {
    return [...this.#records.values()];
  }

  get(manifest: Digest): ImageRecord | undefined {
    return this.#records.get(manifest);
  }

  /** The image that a reference last meant on this node. */
  find(reference: string, platform: string): ImageRecord | undefined {
    const named = this.list().filter((record) => record.references.includes(reference));
    return named.find((record) => record.platform === platform);
  }

  path(manifest: Digest, name: ImageFileName): string {
    return join(this.#folder, digestHex(manifest), pathNames[name]);
  }

  /** Where file-lists.ts keeps what it has made of the image; not part of it. */
  fileListPath(manifest: Digest): string {
    return join(this.#folder, digestHex(manifest), 'file-list');
  }

  /**
   * Adds an image whole. One that is here already only gains the new references.
   * @param options `synced`: it survives a power cut from here on; true if not given
   */
  async add(
    image: NewImage,
    files: ImageFiles,
    { synced = true }: { readonly synced?: boolean } = {},
  ): Promise<void> {
    const manifest = parseDigest(image.manifest);
    const existing = this.#records.get(manifest);
    if (existing) {
      const references = [...new Set([...existing.references, ...image.references])];
      return this.update({ ...existing, references, lastUsed: image.lastUsed });
    }
    const present = imageFileNames.flatMap((name) => {
      const file = files[name];
      if (file === undefined) return [];
      return [{ name, file, digest: 'digest' in file ? file.digest : digestOf(file) }];
    });
    const digests = Object.fromEntries(present.map(({ name, digest }) => [name, digest]));
    const record = { ...image, version: recordVersion, digests } as const;
    const temporary = join(this.#folder, `.${randomBytes(6).toString('hex')}`);
    try {
      await mkdir(temporary, { mode: 0o700 });
      for (const { name, file } of present) {
        const path = join(temporary, pathNames[name]);
        if ('path' in file) await moveNew(file.path, path, synced);
        else await writeNew(path, file, synced);
      }
      const text = Buffer.from(JSON.stringify(record));
      await writeNew(join(temporary, 'image.json'), text, synced);
      const final = join(this.#folder, digestHex(manifest));
      // What stands there is no image that open() could read.
      await rm(final, { recursive: true, force: true });
      await rename(temporary, final);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw fromSystemError(`Cannot keep image ${manifest}`, error);
    }
    this.#records.set(manifest, record);
  }

  /** Rewrites an image's record. A reference means one image a platform: others lose it. */
  async update(record: ImageRecord): Promise<void> {
    const digest = parseDigest(record.manifest);
    const path = join(this.#folder, digestHex(digest), 'image.json');
    this.#records.set(digest, record);
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      await writeFile(temporary, JSON.stringify(record), { mode: 0o600 });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw fromSystemError(`Cannot update ${path}`, error);
    }
  }

  /** Makes `reference` mean `manifest` from now on, and notes that it was used. */
  async name(reference: string, manifest: Digest): Promise<void> {
    const target = this.#records.get(manifest);
    if (!target) throw new ThinError('not-found', `Cannot name image ${manifest}: it is not here`);
    for (const other of this.list()) {
      const same = other.manifest === target.manifest || other.platform !== target.platform;
      if (same || !other.references.includes(reference)) continue;
      const references = other.references.filter((name) => name !== reference);
      await this.update({ ...other, references });
    }
    const references = [...new Set([...target.references, reference])];
    await this.update({ ...target, references, lastUsed: Date.now() });
  }

  async remove(manifest: Digest): Promise<void> {
    const doomed = await this.#hide(manifest);
    if (doomed !== undefined) await rm(doomed, { recursive: true, force: true });
  }

  /**
   * Takes an image away while it is brought anew. If that does not bring it, it is here again as it was,
   * as it may be mounted, but for names that mean another image by then.
   */
  async replace<T>(manifest: Digest, bring: () => Promise<T>): Promise<T> {
    const record = this.#records.get(manifest);
    const aside = await this.#hide(manifest);
    try {
      return await bring();
    } finally {
      if (aside !== undefined) await this.#restore(aside, manifest, record);
    }
  }

  async #restore(aside: string, manifest: Digest, record: ImageRecord | undefined): Promise<void> {
    if (record && !this.#records.has(manifest)) {
      const isFree = (name: string) => this.find(name, record.platform) === undefined;
      const references = record.references.filter(isFree);
      await rename(aside, join(this.#folder, digestHex(manifest)));
      await this.update({ ...record, references });
    } else {
      await rm(aside, { recursive: true, force: true });
    }
  }

  /**
   * Renamed before it is removed, so that no half-removed folder bears an image's name.
   * @returns where its folder is now, which the next start removes; undefined if there was none
   */
  async #hide(manifest: Digest): Promise<string | undefined> {
    this.#records.delete(manifest);
    const hidden = join(this.#folder, `.${randomBytes(6).toString('hex')}`);
    try {
      await rename(join(this.#folder, digestHex(manifest)), hidden);
      return hidden;
    } catch (error) {
      const converted = fromSystemError(`Cannot remove image ${manifest}`, error);
      if (!isThinError(converted, 'not-found')) throw converted;
      return undefined;
    }
  }

  /** Reads all of an image's files. @throws ThinError as `read` does */
  async check(manifest: Digest): Promise<void> {
    const { digests = {} } = this.#records.get(manifest) ?? {};
    for (const name of imageFileNames) {
      if (digests[name] !== undefined) await this.read(manifest, name);
    }
  }

  /** @throws ThinError `corrupt` if the bytes are not those that were added; `not-found` */
  async read(manifest: Digest, name: ImageFileName): Promise<Buffer> {
    const path = this.path(manifest, name);
    let bytes: Buffer;
    try {
      bytes = await readFile(path);
    } catch (error) {
      throw fromSystemError(`Cannot read the ${name} of image ${manifest}`, error);
    }
    if (digestOf(bytes) === this.#records.get(manifest)?.digests[name]) return bytes;
    throw new ThinError('corrupt', `Cannot use ${path}: its digest is not the recorded one`);
  }
}

async function readRecord(path: string): Promise<ImageRecord> {
  const parsed = imageRecord.safeParse(JSON.parse(await readFile(path, 'utf8')));
  if (parsed.success) return parsed.data;
  throw new ThinError('corrupt', `${path} is not version ${recordVersion} of an image record`);
}

async function moveNew(from: string, to: string, synced: boolean): Promise<void> {
  if (synced) {
    await using file = await open(from, 'r');
    await file.sync();
  }
  await rename(from, to);
}

async function writeNew(path: string, bytes: Buffer, synced: boolean): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    if (synced) await file.sync();
  } finally {
    await file.close();
  }
}
