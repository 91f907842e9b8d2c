import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { cleanUp } from '../support/clean-up.js';
import { startRegistry } from '../support/docker-registry.js';
import { type CommandResult, runCommand } from '../support/run-command.js';
import { makeRootfs } from './small-rootfs.js';
import { thinifyProgram } from './test-node.js';

export interface ThinifyRig {
  /** `127.0.0.1:<port>` of a real registry. */
  readonly registry: string;
  /** A folder for a conversion index and a spool. */
  freshCache(): string;
  /** A small image in a repository of its own, which has no thin form of it. @param host its proxy */
  freshImage(host?: string): Promise<string>;
  /** Runs `thinify` to its end, which may be a failure. */
  thinify(cache: string, ...args: string[]): Promise<CommandResult>;
  /** Whether anything can be found of a thin form. */
  isPublished(image: string): Promise<boolean>;
  /** Whatever happened before: the image is published, and all of it is right. */
  expectWhole(t: Test, image: string): Promise<void>;
}

export async function startThinifyRig(t: Test): Promise<ThinifyRig> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-thinify-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const { host: registry } = await startRegistry(t);
  let made = 0;
  const freshCache = (): string => join(folder, `cache-${made++}`);
  const thinify: ThinifyRig['thinify'] = (cache, ...args) => {
    const env = { THINFS_CACHE_HOME: cache };
    return runCommand(process.execPath, [thinifyProgram, ...args], { env, mayFail: true });
  };
  const source = `${registry}/source:1`;
  const rootfs = join(folder, 'rootfs');
  makeRootfs(rootfs, { count: 4, bytes: 700_000 });
  const first = await thinify(freshCache(), '-q', `dir:${rootfs}`, '--name', source);
  if (first.code !== 0) throw new Error(first.stderr);

  return {
    registry,
    freshCache,
    thinify,
    freshImage: async (host = registry) => {
      const name = `fresh-${made++}:1`;
      const flags = ['--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests'];
      const places = [`docker://${source}`, `docker://${registry}/${name}`];
      await runCommand('skopeo', ['copy', '-q', ...flags, ...places]);
      return `${host}/${name}`;
    },
    isPublished: async (image) => {
      const [, repository] = /\/(.*):/.exec(image) ?? [];
      const answer = await fetch(`http://${registry}/v2/${repository}/tags/list`);
      // The tag for people, and that of the referrers.
      return /"(1-thin|sha256-[^"]*)"/.test(await answer.text());
    },
    expectWhole: async (t, image) => {
      const direct = image.replace(/^[^/]*/, registry);
      const verified = await thinify(freshCache(), 'verify', '-q', direct);
      t.match(verified, { code: 0, stdout: /all right/ }, verified.stderr);
    },
  };
}
