import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { formatPlatform } from '../../src/image/platform.js';
import { DirectoryObjects } from '../../src/store/directory-objects.js';
import { writableLayoutStore } from '../../src/store/layout-store.js';
import { earlierCommand, findEarlierHot } from '../../src/thin/find-earlier-hot.js';
import { findHotIndex } from '../../src/thin/find-hot-index.js';
import { findThinImage } from '../../src/thin/find-thin-image.js';
import type { HotCommand } from '../../src/thin/hot-index.js';
import { hotArtifactType, hotManifestsOf } from '../../src/thin/hot-manifest.js';
import type { ListedManifest } from '../../src/thin/image-store.js';
import { type NewHotCommand, publishHotIndex } from '../../src/thin/publish-hot-index.js';
import { publishThinImage, publishThinTag } from '../../src/thin/publish-thin-image.js';
import { amd64, type SmallImage, smallImage } from './small-image.js';

const { signal } = new AbortController();
const nothingBefore = { generation: 0, manifests: [], commands: [] };

/** A command whose pack has this one text, `chunks` times. */
function command(name: string, chunks = 1): NewHotCommand {
  const pack = Buffer.from(name.repeat(chunks));
  const chunk = { digest: digestOf(Buffer.from(name)), length: name.length };
  const frame = { length: pack.length, codec: 'stored' as const };
  return {
    args: [name],
    runs: 1,
    frames: [{ ...frame, chunks: Array.from({ length: chunks }, () => chunk) }],
    pack,
  };
}

/** The same, told from one chunk of another image. */
function withDelta(command: NewHotCommand, image: Digest) {
  const pack = Buffer.from(command.args.join().slice(-3));
  const bases = [{ digest: digestOf(Buffer.from('base')), length: 4 }];
  const frame = { number: 0, length: pack.length, digest: digestOf(pack), bases };
  return { ...command, delta: { image, frames: [frame], pack } };
}

function storeIn(folder: string) {
  return writableLayoutStore(new DirectoryObjects(folder));
}
type TestStore = ReturnType<typeof storeIn>;

async function publishThin(store: TestStore, image: SmallImage) {
  const published = await publishThinImage(store, image, signal);
  await publishThinTag(store, image.repository, 'v1', [published], signal);
}

const wantedOf = ({ repository, subject }: SmallImage) => ({
  repository,
  manifest: subject,
  platform: amd64,
});

async function publishHot(
  store: TestStore,
  image: SmallImage,
  commands: readonly NewHotCommand[],
  before: Parameters<typeof publishHotIndex>[1]['before'] = nothingBefore,
) {
  const original = await findThinImage(store, wantedOf(image), signal);
  if (!original) throw new Error('it is not published');
  const all = async function* () {
    yield* commands;
  };
  return publishHotIndex(
    store,
    {
      ...{ repository: image.repository, tag: 'v1', image: original.descriptor.image },
      ...{ commands: all(), recordings: Buffer.from('none\n'), before },
    },
    signal,
  );
}

function hotOf(listed: readonly ListedManifest[]): ListedManifest[] {
  return listed.filter(({ artifactType }) => artifactType === hotArtifactType);
}

async function commandsOf(store: TestStore, { repository, subject }: SmallImage) {
  const listed = await store.referrers(repository, subject, undefined, signal);
  const found = await findHotIndex(store, listed, subject, signal);
  return found?.index.commands.map(({ args }) => args[0]);
}

t.test(
  'a tag that moves lists the hot manifest of the other image until it has its own',
  async (t) => {
    const store = storeIn(t.testdir({}));
    const [old, fresh] = [await smallImage('old'), await smallImage('fresh')];
    await publishThin(store, old);
    await publishHot(store, old, [command('of the old one')]);
    const listed = await store.tagged(old.repository, 'v1', signal);
    t.equal(hotOf(listed).length, 1);
    t.ok(await findHotIndex(store, listed, old.subject, signal));
    t.equal(
      await findHotIndex(store, listed, fresh.subject, signal),
      undefined,
      'it is of another',
    );
    await publishThin(store, fresh);
    const kept = await store.tagged(old.repository, 'v1', signal);
    t.same(hotOf(kept), hotOf(listed), 'it is what the new one is told from');
    t.equal(
      await findHotIndex(store, kept, fresh.subject, signal),
      undefined,
      'and of nobody else',
    );
    await publishHot(store, fresh, [command('of the new one')]);
    const now = hotOf(await store.tagged(old.repository, 'v1', signal));
    t.equal(now.length, 1);
    t.ok(await findHotIndex(store, now, fresh.subject, signal));
    t.same(await commandsOf(store, old), ['of the old one'], 'who has the old one finds it');
  },
);

t.test('a hot manifest of the other image that is gone is listed no more', async (t) => {
  const folder = t.testdir({});
  const store = storeIn(folder);
  const [old, fresh] = [await smallImage('old'), await smallImage('fresh')];
  await publishThin(store, old);
  await publishHot(store, old, [command('of the old one')]);
  const [hot] = hotOf(await store.tagged(old.repository, 'v1', signal));
  rmSync(blobIn(folder, hot?.digest ?? old.subject));
  await publishThin(store, fresh);
  t.same(hotOf(await store.tagged(old.repository, 'v1', signal)), []);
});

t.test(
  'what is published of an earlier version is found by the tag, and again by its delta',
  async (t) => {
    const store = storeIn(t.testdir({}));
    const [old, fresh] = [await smallImage('old'), await smallImage('fresh')];
    const find = (tag: string | undefined, commands: readonly HotCommand[] = []) => {
      const { repository, subject: image } = fresh;
      const wanted = { repository, tag, image, platform: formatPlatform(amd64), commands };
      return findEarlierHot(store, wanted, signal);
    };
    await publishThin(store, old);
    await publishHot(store, old, [command('program')]);
    await publishThin(store, fresh);
    const earlier = await find('v1');
    t.same(
      earlier.map(({ image }) => image),
      [old.subject],
    );
    t.same(await find(undefined), []);
    t.match(earlierCommand(earlier, ['program']), { image: old.subject });
    t.equal(earlierCommand(earlier, ['another']), undefined);
    await publishHot(store, fresh, [withDelta(command('program'), old.subject)]);
    t.same(await find('v1'), [], 'the tag has its own');
    const listed = await store.referrers(fresh.repository, fresh.subject, undefined, signal);
    const found = await findHotIndex(store, listed, fresh.subject, signal);
    t.match(await find('v1', found?.index.commands), [{ image: old.subject }]);
  },
);

t.test('a delta pack that is gone leaves its command without it', async (t) => {
  const folder = t.testdir({});
  const store = storeIn(folder);
  const image = await smallImage('deltas');
  await publishThin(store, image);
  const [kept, lost] = ['kept', 'lost'].map((name) => withDelta(command(name), image.subject));
  if (!kept || !lost) throw new Error('there are two');
  const { commands } = await publishHot(store, image, [kept, lost]);
  t.same(commands.map(({ delta }) => delta?.pack.size).sort(), [3, 3]);
  rmSync(blobIn(folder, digestOf(lost.delta.pack)));
  await publishHot(store, image, [command('new')], { ...nothingBefore, commands });
  const listed = await store.referrers(image.repository, image.subject, undefined, signal);
  const found = await findHotIndex(store, listed, image.subject, signal);
  const deltas = found?.index.commands.map(({ args, delta }) => [args[0], delta !== undefined]);
  t.same(deltas?.sort(), [
    ['kept', true],
    ['lost', false],
    ['new', false],
  ]);
});

t.test('the manifest tells where the packs are, if it can tell of all', async (t) => {
  t.testdir({});
  const image = await smallImage('told');
  const toldOf = async (folder: string, ...commands: NewHotCommand[]) => {
    const store = storeIn(join(t.testdirName, folder));
    await publishThin(store, image);
    await publishHot(store, image, commands);
    const listed = await store.tagged(image.repository, 'v1', signal);
    const told: Set<string>[] = [];
    await findHotIndex(store, listed, image.subject, signal, (packs) => {
      told.push(new Set(packs.map(({ args, pack }) => `${args[0]} ${pack.digest}`)));
    });
    const all = new Set(commands.map(({ args, pack }) => `${args[0]} ${digestOf(pack)}`));
    return { told, all };
  };
  const short = await toldOf('short', command('one'), command('other'));
  t.same(short.told, [short.all, short.all], 'by the manifest, then by the index');
  const twins = await toldOf('twins', command('one'), { ...command('one'), args: ['other'] });
  t.same(twins.told, [twins.all, twins.all], 'two commands may have one pack');
  const long = await toldOf('long', command('one'), command('x'.repeat(2000)));
  t.same(long.told, [new Set(), long.all]);
});

t.test('one of two that cannot be read is passed over', async (t) => {
  const folder = t.testdir({});
  const store = storeIn(folder);
  const image = await smallImage('broken');
  const { repository, subject } = image;
  await publishThin(store, image);
  await publishHot(store, image, [command('first')]);
  const listed = await store.referrers(repository, subject, undefined, signal);
  await publishHot(store, image, [command('second')], { ...nothingBefore, generation: 1 });
  // As a registry lists them that has the referrers API.
  listed.push(...(await store.referrers(repository, subject, undefined, signal)));
  const found = () => findHotIndex(store, listed, subject, signal);
  t.same(
    hotManifestsOf(listed, subject).map(({ generation }) => generation),
    [2, 1],
  );
  const indexes = [await found()];
  await spoil();
  t.same((await found())?.index.commands[0]?.args, ['first']);
  indexes.push(await found());
  await spoil();
  await t.rejects(found(), { code: 'corrupt' });

  async function spoil(): Promise<void> {
    const bytes = indexes.at(-1)?.bytes ?? Buffer.alloc(0);
    writeFileSync(blobIn(folder, digestOf(bytes)), Buffer.alloc(bytes.length, 'x'));
  }
});

t.test(
  'an index takes the newest that fit, and of older ones those whose pack is there',
  async (t) => {
    const folder = t.testdir({});
    const store = storeIn(folder);
    const image = await smallImage('many');
    await publishThin(store, image);
    await publishHot(store, image, [command('kept'), command('lost')]);
    const listed = await store.referrers(image.repository, image.subject, undefined, signal);
    const commands =
      (await findHotIndex(store, listed, image.subject, signal))?.index.commands ?? [];
    rmSync(blobIn(folder, digestOf(command('lost').pack)));
    await publishHot(store, image, [command('new')], { ...nothingBefore, commands });
    t.same(await commandsOf(store, image), ['kept', 'new']);
    // 45 bytes for each chunk, and 4 MiB in all: three have room.
    const large = ['a', 'b', 'c', 'd'].map((name) => command(name, 30_000));
    const { commands: made } = await publishHot(store, image, large);
    t.same(
      made.map(({ args }) => args[0]),
      ['c', 'b', 'a'],
    );
    const many = Array.from({ length: 20 }, (_, at) => command(`${at}`));
    t.equal((await publishHot(store, image, many)).commands.length, 16);
  },
);

function blobIn(folder: string, digest: Digest): string {
  return join(folder, 'blobs', 'sha256', digestHex(digest));
}
