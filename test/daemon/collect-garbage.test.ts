import t from 'tap';
import { bringImage } from '../../src/daemon/bring-image.js';
import { collectGarbage, type GarbageParts } from '../../src/daemon/collect-garbage.js';
import type { CheckedRequest } from '../../src/daemon/control-api.js';
import type { ImageRecord } from '../../src/daemon/image-folder.js';
import { ImageHolds } from '../../src/daemon/image-holds.js';
import type { OpenContext } from '../../src/daemon/image-opener.js';
import type { LiveImage } from '../../src/daemon/live-image.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';

const manifests = ['a', 'b', 'c'].map((name) => digestOf(Buffer.from(name)));

/** A node with these images, of which it is written down what is done to them. */
function scriptedNode(onUnpin: (manifest: string) => void) {
  const here = new Set<string>(manifests);
  const kept: string[] = [];
  const mounted = new Set<string>();
  const done = async () => undefined;
  const parts = {
    cache: {
      usage: async () => ({ bytes: 0, completeFiles: 0 }),
      unpinImage: async (manifest: string) => onUnpin(manifest),
      rememberImage: done,
      gc: async ({ keepImages }: { keepImages: string[] }) => void kept.push(...keepImages),
    },
    images: {
      list: () => [...here].map((manifest) => ({ manifest })),
      remove: async (manifest: string) => void here.delete(manifest),
    },
    live: {
      arrivals: { forget: done },
      forget: () => undefined,
      get: async () => Promise.reject(new ThinError('corrupt', 'its digest is another one')),
    },
    mounted: {
      left: [],
      containers: { removeEnded: done },
      closeIdle: done,
      isWanted: (manifest: string) => mounted.has(manifest),
    },
  };
  return { parts: parts as unknown as GarbageParts, kept, mounted };
}

t.test('an image stays that is mounted while others are removed', async (t) => {
  const [first, second, third] = manifests;
  const { parts, kept, mounted } = scriptedNode((manifest) => {
    if (manifest === first) mounted.add(String(second));
  });
  t.match(await collectGarbage(parts, true), { images: 2 });
  t.same(kept, [second], `and not ${third}`);
});

t.test('one that is damaged does not keep the others from being looked at', async (t) => {
  const { parts, kept } = scriptedNode(() => undefined);
  t.match(await collectGarbage(parts, false), { images: 0 });
  t.same(kept, manifests);
});

t.test('an image is held from when it is known until it is mounted', async (t) => {
  const [first, again] = manifests;
  const holds = new ImageHolds();
  const opened = [first, again];
  const notes: string[] = [];
  let isDamaged = true;
  const parts = {
    opener: { open: async () => ({ manifest: opened.shift() }) as ImageRecord },
    live: {
      get: async () => {
        t.ok(holds.has(String(first)));
        if (isDamaged) throw new ThinError('corrupt', 'its digest is another one');
        return {} as LiveImage;
      },
      forget: () => {
        isDamaged = false;
      },
    },
    images: { replace: async <T>(_: unknown, bring: () => Promise<T>) => bring() },
    mounted: { roots: { prepare: () => undefined } },
  };
  const context = { note: (text: string) => void notes.push(text) } as unknown as OpenContext;
  const request = { pull: 'missing' } as CheckedRequest<'mount'>;
  {
    using hold = holds.hold();
    await bringImage(parts, request, context, hold);
    t.match(notes, [/fetching it again/]);
    t.ok(holds.has(String(first)) && holds.has(String(again)));
  }
  t.notOk(holds.has(String(first)));
});
