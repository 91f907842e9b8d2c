import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { tierPath } from '../src/cache/layout.js';
import { digestOf, parseDigest } from '../src/digest.js';
import type { LayerEntry, TarEntry } from '../src/image/layer-entry.js';
import type { DirectoryNode } from '../src/image/tree.js';
import { readLayer } from '../src/layer/read-layer.js';
import type { TarEvent } from '../src/layer/tar-event.js';
import { mergeLayers } from '../src/metadata/merge.js';
import type { LayoutImage } from './images/image-manifest.js';
import { blobPath } from './images/oci-layout.js';

type FileEntry = Extract<TarEntry, { type: 'file' }>;

/**
 * Takes an image apart as the node has it, with neither store nor daemon: its merged tree, and all
 * of its files in `folder` by their digest.
 */
export async function splitImage(image: LayoutImage, folder: string): Promise<DirectoryNode> {
  mkdirSync(folder, { recursive: true });
  const layers = [];
  for (const { descriptor, diffId } of image.layers) {
    const source = createReadStream(blobPath(image.layout, descriptor.digest));
    const files = new SplitFiles(folder);
    const signal = new AbortController().signal;
    for await (const events of readLayer(source, { ...descriptor, diffId, signal })) {
      for (const event of events) files.take(event);
    }
    layers.push({ diffId, entries: files.entries });
  }
  return mergeLayers(layers);
}

class SplitFiles {
  readonly entries: LayerEntry[] = [];
  readonly #folder: string;
  #current: { entry: FileEntry; descriptor: number; length: number } | undefined;
  #hash = createHash('sha256');

  constructor(folder: string) {
    this.#folder = folder;
  }

  take(event: TarEvent): void {
    if (event.type === 'entry') this.#begin(event.entry);
    else if (event.type === 'data') this.#append(event.bytes);
    else if (event.type === 'hole') this.#append(Buffer.alloc(event.length));
    else this.#end();
  }

  get #unfinished(): string {
    return join(this.#folder, 'unfinished');
  }

  #begin(entry: TarEntry): void {
    if (entry.type !== 'file') {
      this.entries.push(entry);
    } else if (entry.size === 0) {
      this.entries.push({ ...entry, content: digestOf(Buffer.alloc(0)) });
    } else {
      this.#current = { entry, descriptor: openSync(this.#unfinished, 'w', 0o644), length: 0 };
      this.#hash = createHash('sha256');
    }
  }

  #append(bytes: Buffer): void {
    const file = this.#current;
    if (!file) return;
    this.#hash.update(bytes);
    writeSync(file.descriptor, bytes, 0, bytes.length, file.length);
    file.length += bytes.length;
  }

  #end(): void {
    const file = this.#current;
    this.#current = undefined;
    if (!file) return;
    closeSync(file.descriptor);
    const content = parseDigest(`sha256:${this.#hash.digest('hex')}`);
    const path = tierPath(this.#folder, content);
    mkdirSync(dirname(path), { recursive: true });
    if (existsSync(path)) rmSync(this.#unfinished);
    else renameSync(this.#unfinished, path);
    this.entries.push({ ...file.entry, content });
  }
}
