import { join } from 'node:path';
import { mount, mountFlags } from '../../native-bindings/mount-calls.js';
import { detachPath, unmountPath } from '../fuse/kernel-mount.js';
import { mountOverlay } from '../mount/overlay.js';
import type { LiveImage } from './live-image.js';
import { takeAway } from './own-mount.js';
import type { Root, RootRequest } from './root.js';
import type { Trees, TreeUse } from './trees.js';

/** Roots that this process serves itself: they end with it. */
export class PortableRoots {
  readonly #trees: Trees;

  constructor(trees: Trees) {
    this.#trees = trees;
  }

  /** @throws ThinError `denied`, `unavailable` */
  mount(image: LiveImage, request: RootRequest): Promise<Root> {
    const { target, changes } = request;
    return changes === undefined
      ? this.#mountTree(image, target)
      : this.#mountWritable(image, target, changes);
  }

  /** They look for files again. */
  refresh(): void {
    this.#trees.closeFiles();
  }

  async #mountTree(image: LiveImage, target: string): Promise<Root> {
    const server = await this.#trees.mount(image, target, 'image');
    const { implementation } = server;
    return {
      record: { target, changes: undefined, form: 'portable', server: implementation },
      ended: server.ended.then(() => {}),
      unmount: () => server.unmount(),
      detach: async () => {
        await server[Symbol.asyncDispose]();
      },
    };
  }

  async #mountWritable(image: LiveImage, target: string, changes: string): Promise<Root> {
    const tree = await this.#trees.use(image);
    try {
      await mountChanges(tree, target, changes);
    } catch (error) {
      tree.release();
      throw error;
    }
    let end = (): void => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const release = async (): Promise<void> => {
      await detachPath(join(changes, 'merged'));
      tree.release();
      end();
    };
    return {
      record: { target, changes, form: 'portable', server: tree.implementation },
      ended,
      unmount: () => takeAway(target, unmountPath).then(release),
      detach: () => takeAway(target, detachPath).then(release),
    };
  }
}

/** The overlay lies beside its changes; somebody else's mount point shows it. */
async function mountChanges(tree: TreeUse, target: string, changes: string): Promise<void> {
  const overlay = await mountOverlay({ lower: tree.mountPoint, directory: changes });
  if (overlay.merged === target) return;
  try {
    await mount({ source: overlay.merged, target, type: '', flags: mountFlags.bind });
  } catch (error) {
    await overlay[Symbol.asyncDispose]();
    throw error;
  }
}
