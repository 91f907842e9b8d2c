import { constants } from 'node:os';
import { posix } from 'node:path';
import { ThinError } from '../errors.js';
import type { ImageConfig } from '../image/image-config.js';
import type { Account } from './account.js';

/** What a user asks for, over what the image says. */
export interface ProcessOptions {
  /** Arguments; the image's Cmd if empty. */
  readonly command: readonly string[];
  /** Replaces the image's Entrypoint and drops its Cmd; empty text: no entry point. */
  readonly entrypoint?: string | undefined;
  /** `NAME=value`, over the image's. */
  readonly env: readonly string[];
  readonly workdir?: string | undefined;
  readonly terminal: boolean;
}

type ImageProcess = NonNullable<ImageConfig['config']>;

/** What docker gives a container whose image says nothing. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Of a container's root: docker's default set. */
const defaultCapabilities = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/**
 * `process` of a runtime configuration.
 * @throws ThinError `invalid` if neither the image nor the user names a command
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config.md#process
 */
export function containerProcess(
  image: ImageProcess,
  options: ProcessOptions,
  account: Account,
  hostname: string,
) {
  const { uid, gid, additionalGids } = account;
  return {
    terminal: options.terminal,
    user: { uid, gid, additionalGids },
    args: commandLine(image, options),
    env: environment(image, options, account, hostname),
    cwd: posix.resolve('/', options.workdir ?? image.WorkingDir ?? '/'),
    capabilities: capabilitiesOf(uid),
    noNewPrivileges: false,
  };
}

/**
 * What is executed.
 * @throws ThinError `invalid` if neither the image nor the user names a command
 */
export function commandLine(
  image: ImageProcess,
  options: Pick<ProcessOptions, 'command' | 'entrypoint'>,
): string[] {
  const { command, entrypoint } = options;
  const words =
    entrypoint === undefined
      ? [...(image.Entrypoint ?? []), ...(command.length > 0 ? command : (image.Cmd ?? []))]
      : [...(entrypoint === '' ? [] : [entrypoint]), ...command];
  if (words.length > 0) return words;
  throw new ThinError(
    'invalid',
    'Cannot run the image: it names no command (wanted one after the image)',
  );
}

/** Later values replace earlier ones of the same name. */
function environment(
  image: ImageProcess,
  options: ProcessOptions,
  account: Account,
  hostname: string,
): string[] {
  const defaults = [`PATH=${defaultPath}`, `HOSTNAME=${hostname}`, `HOME=${account.home}`];
  const terminal = options.terminal ? ['TERM=xterm'] : [];
  const variables = new Map<string, string>();
  for (const variable of [...defaults, ...terminal, ...(image.Env ?? []), ...options.env]) {
    const [name = ''] = variable.split('=', 1);
    if (name === '' || !variable.includes('=') || variable.includes('\0')) continue;
    variables.set(name, variable);
  }
  return [...variables.values()];
}

/** A program of another user than root gets none at execve; they only bound what setuid gives. */
function capabilitiesOf(uid: number) {
  const bounding = defaultCapabilities;
  return uid === 0 ? { bounding, effective: bounding, permitted: bounding } : { bounding };
}

/**
 * The signal that asks a container to end, by name.
 * @param text `SIGTERM`, `TERM`, a number, or nothing for the default
 * @throws ThinError `invalid` for no signal of this system
 */
export function parseStopSignal(text: string | undefined): NodeJS.Signals {
  const wanted = (text || 'SIGTERM').toUpperCase();
  const name = wanted.startsWith('SIG') ? wanted : `SIG${wanted}`;
  const found = Object.entries(constants.signals).find(
    ([signal, number]) => signal === name || `${number}` === wanted,
  );
  if (found && isSignalName(found[0])) return found[0];
  throw new ThinError('invalid', `Cannot use stop signal ${JSON.stringify(text)}: there is none`);
}

function isSignalName(name: string): name is NodeJS.Signals {
  return name in constants.signals;
}
