import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { Holder } from '../../src/daemon/holder.js';
import type { ServerSettings } from '../../src/daemon/holder-protocol.js';
import { openFuseDevice } from '../../src/daemon/spawn-holder.js';
import { cleanUp } from '../support/clean-up.js';

/** What scripted-server.mjs does in its next life. */
export interface Script {
  /** Ends at once with this exit code. */
  readonly crash?: number;
  readonly failure?: { readonly code: string; readonly message: string };
  readonly needDevice?: boolean;
  readonly refuse?: boolean;
  /** The first life wants another device. */
  readonly renew?: boolean;
}

export interface Life {
  readonly pid: number;
  readonly device?: string;
  readonly flags: readonly string[];
  readonly setting?: string;
}

export interface ScriptedHolder {
  readonly holder: Holder;
  readonly settings: ServerSettings;
  readonly folder: string;
  script(script: Script): void;
  lives(): Life[];
}

/** A holder in this process, with servers that follow a script; all are gone when the test ends. */
export function scriptedHolder(t: Test, first: Script): ScriptedHolder {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-holder-'));
  const file = join(folder, 'script');
  const script = (next: Script): void => writeFileSync(file, JSON.stringify(next));
  const settings: ServerSettings = {
    node: process.execPath,
    nodeArguments: [],
    program: fileURLToPath(new URL('./scripted-server.mjs', import.meta.url)),
    flags: { script: ['--script', file] },
    env: {},
  };
  script(first);
  const holder = new Holder(settings, openFuseDevice());
  cleanUp(t, async () => {
    const { serverPid } = holder.status();
    if (serverPid !== undefined) process.kill(serverPid, 'SIGKILL');
    await holder.stop({ force: true, unmount: true }).catch(() => {}); // it has finished
    rmSync(folder, { recursive: true });
  });
  const lives = (): Life[] => {
    const text = readFileSync(`${file}.lives`, 'utf8').trim();
    return text.split('\n').map((line) => JSON.parse(line));
  };
  return { holder, settings, folder, script, lives };
}
