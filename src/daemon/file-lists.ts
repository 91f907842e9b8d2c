import type { Logger } from 'pino';
import type { Digest } from '../digest.js';
import { describeError } from '../errors.js';
import type { SharedFileList } from '../fuse/file-list.js';
import { keepFileList, readFileList } from '../fuse/kept-file-list.js';
import { makeFileList } from '../fuse/make-file-list.js';
import type { ImageFolder } from './image-folder.js';
import type { LiveImage } from './live-image.js';

export interface FileListParts {
  readonly images: Pick<ImageFolder, 'fileListPath'>;
  readonly live: { get(image: Digest): Promise<Pick<LiveImage, 'fileColumns'>> };
  readonly log: Logger;
}

/**
 * What files each image has, as F wants it: kept beside the image when it is first made, so that a
 * server that takes over knows a hundred images before their trees could be read.
 */
export class FileLists {
  readonly #images: FileListParts['images'];
  readonly #live: FileListParts['live'];
  readonly #log: Logger;

  constructor({ images, live, log }: FileListParts) {
    this.#images = images;
    this.#live = live;
    this.#log = log;
  }

  /** @throws ThinError `not-found`; `corrupt` if the image was damaged on this node */
  async get(image: Digest): Promise<SharedFileList> {
    const path = this.#images.fileListPath(image);
    const anew = (error: unknown): undefined => {
      this.#log.info({ image, reason: describeError(error) }, 'a file list is made anew');
    };
    const kept = await readFileList(path, image).catch(anew);
    if (kept) return kept;
    const list = await makeFileList(image, (await this.#live.get(image)).fileColumns());
    await keepFileList(path, list).catch(anew);
    return list;
  }
}
