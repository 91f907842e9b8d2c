import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Digest, isDigest } from '../digest.js';
import { fromSystemError } from '../errors.js';

/** What a user says of an image's hot files: as the image is used, always kept, or never. */
export const tierChoices = ['auto', 'pin', 'never'] as const;
export type TierChoice = (typeof tierChoices)[number];

/** Milliseconds after which a start counts for half: a week. */
const halfLifeMs = 7 * 24 * 3600 * 1000;
/** Images that are remembered, also after they are gone: those started longest ago go. */
const imagesMax = 1000;
const version = 1;

const entry = z.object({
  choice: z.enum(tierChoices),
  /** Starts, the older ones counting less: as of `at`, in milliseconds since 1970. */
  starts: z.number().nonnegative(),
  at: z.number(),
});
const schema = z.object({
  version: z.literal(version),
  /** Bytes of pinned files at most; null: a part of the tier. */
  limitBytes: z.number().int().nonnegative().nullable(),
  images: z.record(z.string().refine(isDigest), entry),
});

type Entry = z.infer<typeof entry>;
const fresh: Entry = { choice: 'auto', starts: 0, at: 0 };

/** What is to be pinned, as users say it and as images are started: `tier.json` in the node's state. */
export class TierChoices {
  readonly #path: string;
  readonly #images: Map<string, Entry>;
  #limitBytes: number | undefined;
  #revision = 0;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, { limitBytes, images }: z.infer<typeof schema>) {
    this.#path = path;
    this.#limitBytes = limitBytes ?? undefined;
    this.#images = new Map(Object.entries(images));
  }

  /** A file that cannot be read counts as none: it holds wishes, and nothing that is needed. */
  static async open(root: string): Promise<TierChoices> {
    const path = join(root, 'tier.json');
    const none = { version, limitBytes: null, images: {} } as const;
    const text = await readFile(path, 'utf8').catch(() => '');
    return new TierChoices(path, parse(text) ?? none);
  }

  get limitBytes(): number | undefined {
    return this.#limitBytes;
  }

  /** Another number whenever a user has said something since this was opened. */
  get revision(): number {
    return this.#revision;
  }

  choiceOf(image: Digest): TierChoice {
    return this.#images.get(image)?.choice ?? fresh.choice;
  }

  /** Starts of an image up to now, the older ones counting less. */
  startsOf(image: Digest, now = Date.now()): number {
    const { starts, at } = this.#images.get(image) ?? fresh;
    return starts * 0.5 ** (Math.max(now - at, 0) / halfLifeMs);
  }

  async setLimit(bytes: number | undefined): Promise<void> {
    this.#limitBytes = bytes;
    this.#revision++;
    await this.#write();
  }

  async choose(image: Digest, choice: TierChoice): Promise<void> {
    this.#images.set(image, { ...(this.#images.get(image) ?? fresh), choice });
    this.#revision++;
    await this.#write();
  }

  async started(image: Digest): Promise<void> {
    const now = Date.now();
    const { choice } = this.#images.get(image) ?? fresh;
    const starts = this.startsOf(image, now) + 1;
    this.#images.delete(image);
    this.#images.set(image, { choice, starts, at: now });
    for (const [oldest] of [...this.#images].slice(0, -imagesMax)) this.#images.delete(oldest);
    await this.#write();
  }

  /** One after the other; what was said last is written last. */
  #write(): Promise<void> {
    const images = Object.fromEntries(this.#images);
    const text = JSON.stringify({ version, limitBytes: this.#limitBytes ?? null, images });
    const writing = this.#writing.then(() => this.#replace(text));
    this.#writing = writing.catch(() => {});
    return writing;
  }

  async #replace(text: string): Promise<void> {
    const temporary = `${this.#path}.new`;
    try {
      await writeFile(temporary, text, { mode: 0o600 });
      await rename(temporary, this.#path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw fromSystemError(`Cannot keep what is pinned in ${this.#path}`, error);
    }
  }
}

function parse(text: string): z.infer<typeof schema> | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
