import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { collectGarbage, type GarbageParts } from '../../src/daemon/collect-garbage.js';
import type { ContainerRecord } from '../../src/daemon/container-record.js';
import { Containers } from '../../src/daemon/containers.js';
import { controlSchemas } from '../../src/daemon/control-api.js';
import { FileLists } from '../../src/daemon/file-lists.js';
import { HotStarts } from '../../src/daemon/hot-starts.js';
import type { LiveImage } from '../../src/daemon/live-image.js';
import { Mounts } from '../../src/daemon/mounts.js';
import type { Roots } from '../../src/daemon/roots.js';
import { digestOf } from '../../src/digest.js';
import { PacksAhead } from '../../src/store/packs-ahead.js';
import { scratchDirectory } from '../cache/cache-rig.js';
import { until } from '../cli/test-node.js';

const log = pino({ level: 'silent' });

/** Knows containers by the files `state` in its folder, says what it is asked, and may be `stuck`. */
const runtimeScript = `#!/bin/sh
echo "$3" >> "$0.calls"
case "$3" in
  state) cat "$2/$4/state" ;;
  delete) if [ -e "$0.stuck" ]; then exit 1; fi; rm -r "$2/$5" ;;
esac
`;

function rig(t: Test) {
  const root = scratchDirectory(t);
  const runFolder = join(root, 'run');
  const runtime = join(root, 'runtime');
  writeFileSync(runtime, runtimeScript, { mode: 0o755 });
  const folder = (id: string) => join(root, 'containers', id);
  const events = { shared: undefined, onReady: () => {}, ahead: new PacksAhead(undefined) };
  const hot = new HotStarts(root, 'none', log, events);
  const roots: Pick<Roots, 'mount'> = {
    mount: () => Promise.reject(new Error('nothing is mounted')),
  };
  const open = () => new Containers(root, runFolder, roots, hot, log);
  const containers = open();
  t.teardown(() => containers.stopWatching());

  /** One that an earlier daemon has made. */
  const make = (id: string, remove: boolean): ContainerRecord => {
    const target = join(folder(id), 'merged');
    const record: ContainerRecord = {
      ...{ version: 1, id, reference: 'image:1', manifest: 'none', readOnly: false, remove },
      ...{ runtime, since: 1, root: { target, form: 'composed', server: 'erofs' } },
    };
    mkdirSync(join(folder(id), 'upper'), { recursive: true });
    writeFileSync(join(folder(id), 'container.json'), JSON.stringify(record));
    return record;
  };
  const written = (id: string) => readFileSync(join(folder(id), 'container.json'), 'utf8');
  const detached: string[] = [];
  const rootOf = (record: ContainerRecord) => {
    const detach = async () => {
      detached.push(written(record.id));
    };
    return { record: record.root, ended: new Promise<void>(() => {}), unmount: detach, detach };
  };
  const say = (id: string, status: string) => {
    mkdirSync(join(runFolder, 'runtime', id), { recursive: true });
    writeFileSync(join(runFolder, 'runtime', id, 'state'), JSON.stringify({ status, pid: 1 }));
  };
  const calls = (name: string) => {
    const all = existsSync(`${runtime}.calls`) ? readFileSync(`${runtime}.calls`, 'utf8') : '';
    return all.split('\n').filter((call) => call === name).length;
  };
  // Of an image that cannot be mounted no more is looked at.
  const image = { config: {}, record: { kind: 'pulled' } } as unknown as LiveImage;
  const request = controlSchemas['container.create'].parse({
    ...{ reference: 'image:1', remove: true, command: ['true'], env: [], volumes: [] },
    ...{ network: 'none', readOnly: false, terminal: false, runtime },
  });
  const parts = { containers, open, roots, image, request };
  return { ...parts, make, rootOf, say, calls, folder, runtime, detached };
}

t.test(
  'one whose command is gone ends when nobody is in it, whatever fails meanwhile',
  async (t) => {
    const { containers, make, rootOf, say, calls, runtime } = rig(t);
    const record = make('a', false);
    say('a', 'paused');
    containers.adopt(record, rootOf(record), 0);
    await until('it was looked at twice', () => calls('state') >= 2);
    say('a', 'nothing that we know');
    const seen = calls('state');
    // The first of these may have read what was said before.
    await until('and again', () => calls('state') >= seen + 2);
    t.equal(calls('delete'), 0, 'it has not ended');
    writeFileSync(`${runtime}.stuck`, '');
    say('a', 'stopped');
    await until('it cannot be deleted', () => calls('delete') >= 1);
    t.equal(containers.running, 1);
    rmSync(`${runtime}.stuck`);
    await until('it has ended', () => containers.running === 0);
    t.match(containers.list(), [{ id: 'a', exitCode: 255 }]);
  },
);

t.test('an end is written down before the root goes', async (t) => {
  const { containers, open, make, rootOf, folder, detached } = rig(t);
  const record = make('a', false);
  containers.adopt(record, rootOf(record));
  const full = join(folder('a'), 'container.json.new');
  mkdirSync(full); // nothing can be written there
  await t.rejects(containers.end('a', 7), { name: 'ThinError' });
  t.strictSame(detached, []);
  t.equal(containers.running, 1);
  rmSync(full, { recursive: true });
  await containers.end('a', 255);
  t.match(
    detached.map((text) => JSON.parse(text)),
    [{ exitCode: 7 }],
  );
  t.match(containers.list(), [{ id: 'a', exitCode: 7 }], 'as it was told first');
  t.strictSame(await open().kept(), [], 'it has ended for the next daemon, too');
});

t.test('a root that cannot be taken away yet is known until it is', async (t) => {
  const { containers, open, make, rootOf } = rig(t);
  const record = make('a', false);
  const root = rootOf(record);
  const held = { ...root, detach: () => Promise.reject<void>(new Error('the disk is full')) };
  containers.adopt(record, held);
  await t.rejects(containers.end('a', 7), /the disk is full/);
  t.equal(containers.running, 1, 'it is ended again');
  t.match(containers.list(), [{ exitCode: 7 }]);
  t.throws(() => containers.attach('a'), { code: 'not-found' }, 'nobody runs in it');
  held.detach = root.detach;
  await Promise.all([containers.end('a', 255), containers.end('a', 255)]);
  t.equal(containers.running, 0);
  t.match(containers.list(), [{ exitCode: 7 }]);
  t.strictSame(await open().kept(), []);
});

t.test('a name is free when nothing is left of who had it', async (t) => {
  const { containers, make, rootOf, folder, image, request } = rig(t);
  const record = make('a', true);
  const root = rootOf(record);
  let detaches = 0;
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const detach = async () => {
    detaches++;
    await held;
  };
  containers.adopt(record, { ...root, detach });
  const ends = [containers.end('a', 0), containers.end('a', 0)];
  await until('it is being taken away', () => detaches > 0);
  const another = containers.create(image, { ...request, name: 'a' }, new AbortController().signal);
  const refused = t.rejects(another, /nothing is mounted/, 'it was its turn');
  ends.push(containers.remove('a'));
  letGo();
  await Promise.all([...ends, refused]);
  t.equal(detaches, 1);
  t.notOk(existsSync(folder('a')));
});

t.test('what was being made is removed when nobody writes it any more', async (t) => {
  const { containers, make, rootOf, roots, folder, image, request } = rig(t);
  const detach = async () => undefined;
  const root = { ...rootOf(make('a', false)), detach };
  roots.mount = async () => root;
  rmSync(join(folder('a'), 'container.json'));
  const record = join(folder('a'), 'container.json.new');
  execFileSync('mkfifo', [record]); // its writer waits for a reader
  const failing = { ...image, readSmallFile: () => Promise.reject(new Error('a bad disk')) };
  const wanted = { ...request, name: 'a', user: 'nobody' };
  const made = containers.create(
    failing as unknown as LiveImage,
    wanted,
    new AbortController().signal,
  );
  const failed = t.rejects(made, /a bad disk/);
  for (let look = 0; look < 100; look++) await stat(record);
  await readFile(record);
  await failed;
  t.notOk(existsSync(folder('a')));
});

t.test('what the next daemon finds: changes stay where they were to stay', async (t) => {
  const { open, make, folder, image, request, say } = rig(t);
  for (const id of ['kept', 'removed']) make(id, id === 'removed');
  mkdirSync(join(folder('unmade'), 'upper'), { recursive: true });
  make('newer', true);
  writeFileSync(join(folder('newer'), 'container.json'), '{"version":2}');
  make('torn', true);
  writeFileSync(join(folder('torn'), 'container.json'), '');
  make('unreadable', true);
  rmSync(join(folder('unreadable'), 'container.json'));
  mkdirSync(join(folder('unreadable'), 'container.json'));

  const containers = open();
  const kept = await containers.kept();
  t.strictSame(new Set(kept.map(({ id }) => id)), new Set(['kept', 'removed']));
  for (const record of kept) t.strictSame(await containers.clean(record), [record.root.target]);
  t.match(containers.list(), [{ id: 'kept', exitCode: 255 }]);
  const ids = ['kept', 'removed', 'unmade', 'newer', 'torn', 'unreadable'];
  t.strictSame(
    ids.filter((id) => existsSync(join(folder(id), 'upper'))),
    ['kept', 'newer', 'torn', 'unreadable'],
  );

  t.strictSame(
    new Set(containers.left.map(({ id }) => id)),
    new Set(['newer', 'torn', 'unreadable']),
  );
  const torn = containers.left.find(({ id }) => id === 'torn');
  t.match(torn, { kind: 'container', folder: folder('torn'), reason: /it is no record/ });
  const { signal } = new AbortController();
  const named = containers.create(image, { ...request, name: 'torn' }, signal);
  await t.rejects(named, { code: 'busy', message: /thin rm torn/ });
  say('newer', 'running'); // of a runtime that is not known
  await t.rejects(containers.remove('newer'), { code: 'busy' });
  for (const id of ['torn', 'unreadable']) await containers.remove(id);
  t.match(containers.left, [{ id: 'newer' }]);
  t.notOk(existsSync(folder('torn')));
  t.ok(existsSync(folder('newer')));
  const parts = { mounted: { left: containers.left } } as unknown as GarbageParts;
  await t.rejects(collectGarbage(parts, true), { code: 'busy', message: /thin rm newer/ });
});

t.test('a mount whose record cannot be read is left, too', async (t) => {
  const root = scratchDirectory(t);
  const upper = (id: string) => join(root, 'mounts', id, 'upper');
  for (const id of ['unmade', 'newer']) mkdirSync(upper(id), { recursive: true });
  writeFileSync(join(root, 'mounts/newer/mount.json'), '{"version":2}');
  const roots = { mount: () => Promise.reject(new Error('nothing is mounted')) };
  const mounts = new Mounts(root, roots, log);
  t.strictSame(await mounts.kept(), []);
  t.notOk(existsSync(upper('unmade')));
  t.ok(existsSync(upper('newer')));
  t.match(mounts.left, [{ id: 'newer', kind: 'mount', folder: join(root, 'mounts/newer') }]);
  await mounts.removeLeft('newer');
  t.strictSame([mounts.left, existsSync(upper('newer'))], [[], false]);
});

t.test('a mount that fails tells why, whatever else does', async (t) => {
  const root = scratchDirectory(t);
  const target = join(root, 'target');
  mkdirSync(target);
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const mounted: string[] = [];
  const detach = () => Promise.reject<void>(new Error('it is held'));
  const roots: Pick<Roots, 'mount'> = {
    mount: async () => {
      const [id = ''] = readdirSync(join(root, 'mounts'));
      mounted.push(id);
      await held;
      mkdirSync(join(root, 'mounts', id, 'mount.json.new')); // nothing can be written there
      const record = { target, form: 'composed', server: 'erofs' } as const;
      return { record, ended: new Promise<void>(() => {}), unmount: detach, detach };
    },
  };
  const mounts = new Mounts(root, roots, log);
  const image = { manifest: 'none' } as unknown as LiveImage;
  const request = { reference: 'image:1', target, readOnly: true, form: 'auto' } as const;
  const failed = t.rejects(mounts.mount(image, request), { message: /Cannot write .*mount\.json/ });
  await until('it is being mounted', () => mounted.length > 0);
  const another = mounts.mount(image, request);
  await t.rejects(another, { code: 'busy' }, 'nobody mounts over what is being mounted');
  letGo();
  await failed;
  t.match(mounts.left, [{ id: mounted[0], kind: 'mount', reason: /it is held/ }]);
});

t.test('a file list that cannot be read is made anew', async (t) => {
  const folder = scratchDirectory(t);
  const image = digestOf(Buffer.from('image'));
  const path = join(folder, 'file-list');
  mkdirSync(path); // EISDIR
  const files = [{ content: digestOf(Buffer.from('file')), size: 4 }];
  const lists = new FileLists({
    images: { fileListPath: () => path },
    live: { get: async () => ({ fileColumns: () => files }) },
    log,
  });
  t.equal((await lists.get(image)).entries.byteLength, 40);
});
