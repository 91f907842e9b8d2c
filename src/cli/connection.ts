import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import {
  completionModes,
  defaultCacheSize,
  defaultCompletion,
  defaultFreeSpace,
  defaultPrefetch,
  defaultReadDeadline,
  logLevels,
  type NodeConfig,
  nodeConfig,
  prefetchModes,
} from '../config.js';
import type { ImageRequest, PullEvent } from '../daemon/control-api.js';
import { ControlClient, type ProgressEvent } from '../daemon/control-client.js';
import { type ServerSettings, settingsOf } from '../daemon/holder-protocol.js';
import { ensureDaemon } from '../daemon/start-daemon.js';
import { type StartMode, startModes } from '../daemon/start-mode.js';
import { ThinError } from '../errors.js';
import { defaultPopSize, defaultPopUpload, replacementPolicies } from '../pop-option.js';
import { sharedSyntax, tierSyntax } from '../tier-option.js';
import type { Progress } from './progress.js';

/** Options of every command that needs the node's state. */
export interface NodeFlags {
  root?: string;
  cacheSize?: string;
  freeSpace?: string;
  tier?: string[];
  readDeadline?: string;
}

const nodeOptions = [
  new Option('--root <folder>', "folder of the node's state (default: /var/lib/thinfs)"),
  new Option('--cache-size <size>', `most bytes of cached files (default: ${defaultCacheSize})`),
  new Option('--free-space <size>', `bytes left free on the disk (default: ${defaultFreeSpace})`),
  new Option(
    `--tier ${tierSyntax}`,
    `also keep files on a faster disk; may be given several times, the fastest first; ${sharedSyntax}: use a folder that all nodes of a site mount`,
  ).argParser((text: string, before: string[] = []) => [...before, text]),
  new Option(
    '--read-deadline <duration>',
    `longest that a read waits for a store that is away (default: ${defaultReadDeadline})`,
  ),
];

/** What only commands for the daemon itself take. */
const daemonOptions = [
  new Option(
    '--complete <when>',
    `fetch the rest of mounted images: ${completionModes.join(', ')} (default: ${defaultCompletion})`,
  ),
  new Option(
    '--prefetch <what>',
    `bring what a container will read first ahead of it: ${prefetchModes.join(', ')} (default: ${defaultPrefetch})`,
  ),
  new Option('--bandwidth <size>', 'most bytes a second of background work (default: no limit)'),
  new Option(
    '--metrics <[host:]port>',
    'serve a page for browsers (/) and /metrics there too (default: control socket only)',
  ),
  new Option(
    '--pop <redis address>',
    'share what is fetched with the nodes of a site (see README)',
  ),
  new Option('--pop-secret <file>', 'what the nodes of the site know each other by'),
  new Option('--pop-listen <[host:]port>', 'where they are served (default: any free port)'),
  new Option('--pop-size <size>', `most bytes kept for them (default: ${defaultPopSize})`),
  new Option(
    '--pop-policy <policy>',
    `what of them leaves first: ${replacementPolicies.join(', ')} (default: lru)`,
  ),
  new Option('--pop-upload <size>', `most bytes a second given (default: ${defaultPopUpload})`),
  new Option('--log-level <level>', `${logLevels.join(', ')} (default: info)`),
];

export function addNodeFlags(command: Command): Command {
  for (const option of nodeOptions) command.addOption(option);
  return command;
}

/** All that a daemon can be started with. */
export function addDaemonFlags(command: Command): Command {
  addNodeFlags(command);
  for (const option of daemonOptions) command.addOption(option);
  return command;
}

export function configOf(flags: NodeFlags): NodeConfig {
  return nodeConfig(flags, process.env, process.getuid?.() ?? 0);
}

/** How this same program is run as a server, with those of the flags that were given. */
export function serverSettings(flags: NodeFlags): ServerSettings {
  const given = new Map<string, unknown>(Object.entries({ ...flags, root: configOf(flags).root }));
  const words: string[] = [];
  for (const option of [...nodeOptions, ...daemonOptions]) {
    const value = given.get(option.attributeName());
    if (value === undefined) continue;
    const values = Array.isArray(value) ? value : [value];
    words.push(...values.flatMap((one) => [`--${option.name()}`, `${one}`]));
  }
  const { flags: written, env } = settingsOf(words);
  return {
    node: process.execPath,
    nodeArguments: process.execArgv,
    program: process.argv[1] ?? '',
    flags: written,
    env: { ...thinVariables(), ...env },
  };
}

function thinVariables(): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (name.startsWith('THINFS_') && value !== undefined) variables[name] = value;
  }
  return variables;
}

/** A client of the daemon of this root, which is started if none runs. */
export async function connectDaemon(flags: NodeFlags, signal: AbortSignal): Promise<ControlClient> {
  const config = configOf(flags);
  await ensureDaemon(config, serverSettings(flags), signal);
  return new ControlClient(config.socket);
}

/** How a command wants its mount made. */
export function mountOption(): Option {
  return new Option('--mount <form>', 'composed by the kernel, portable through FUSE, or auto')
    .choices(['auto', 'composed', 'portable'])
    .default('auto')
    .env('THINFS_MOUNT');
}

/** Whether a command waits for all of an image that has no thin form. */
export function startOption(): Option {
  return new Option(
    '--start <when>',
    'of an image that is pulled in full: early, when its layers are known here from before and only files have to come again, or complete',
  )
    .choices([...startModes])
    .default('early');
}

/** Options of every command that names an image. */
export interface ImageFlags extends NodeFlags {
  platform?: string;
  store?: string;
  pull?: string;
  plainHttp?: boolean;
  caFile?: string;
  s3Endpoint?: string;
  s3Region?: string;
  username?: string;
  passwordStdin?: boolean;
  start?: StartMode;
}

export function addImageFlags(command: Command): Command {
  return addSourceFlags(command).option(
    '--pull <when>',
    'ask the store: missing, always or never',
    'missing',
  );
}

/** The same of a command that always asks the store. */
export function addSourceFlags(command: Command): Command {
  addNodeFlags(command)
    .option('--platform <os/arch>', 'platform of a multi-platform image (default: this machine)')
    .option(
      '--store <location>',
      'where the thin image is: dir:<path>, https://…, s3://bucket/prefix',
    )
    .option('--plain-http', 'speak HTTP to the registry (automatic for localhost)')
    .option('--ca-file <file>', "PEM certificates to trust beside the system's")
    .option('--no-plain-http', 'speak HTTPS to a registry on localhost (automatic with --ca-file)')
    .option('--s3-endpoint <url>', "URL of another S3 service than AWS's")
    .option('--s3-region <region>', "region of the bucket (default: AWS's usual places)")
    .option('--username <name>', 'registry user (default: ~/.docker/config.json)')
    .option('--password-stdin', 'read the registry password from standard input');
  return command;
}

/** @throws ThinError `invalid` if the flags contradict each other */
export async function imageRequest(reference: string, flags: ImageFlags): Promise<ImageRequest> {
  const { pull = 'missing' } = flags;
  if (pull !== 'missing' && pull !== 'always' && pull !== 'never') {
    throw new ThinError('invalid', `Cannot use --pull ${pull}: wanted missing, always or never`);
  }
  if ((flags.username === undefined) !== (flags.passwordStdin !== true)) {
    throw new ThinError(
      'invalid',
      'Cannot log in: wanted --username and --password-stdin together',
    );
  }
  return {
    reference,
    pull,
    start: flags.start ?? 'early',
    ...(flags.platform !== undefined && { platform: flags.platform }),
    ...(flags.store !== undefined && { store: absoluteStore(flags.store) }),
    ...(flags.plainHttp !== undefined && { plainHttp: flags.plainHttp }),
    ...(flags.caFile !== undefined && { caFile: resolve(flags.caFile) }),
    ...(flags.s3Endpoint !== undefined && { s3Endpoint: flags.s3Endpoint }),
    ...(flags.s3Region !== undefined && { s3Region: flags.s3Region }),
    ...(flags.username !== undefined && {
      username: flags.username,
      password: await readPassword(),
    }),
  };
}

/** The daemon's working directory is not ours. */
export function absoluteStore(location: string): string {
  if (!location.startsWith('dir:')) return location;
  return `dir:${resolve(location.slice('dir:'.length))}`;
}

/** Bytes of a password that a pipe may hand over; tokens are a few KiB. */
const passwordBytesMax = 65_536;

/** All of standard input, without the line end that `echo` adds. */
export async function readPassword(): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > passwordBytesMax) {
      throw new ThinError(
        'invalid',
        `Cannot use the password: more than ${passwordBytesMax} bytes`,
      );
    }
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

function sum({ layers }: PullEvent, of: 'stored' | 'size'): number {
  return layers.reduce((total, layer) => total + layer[layer.phase === 'here' ? 'size' : of], 0);
}

/** Shows the daemon's events. */
export function showEvents(progress: Progress): (event: ProgressEvent) => void {
  return (event) => {
    if (event.event === 'note') progress.note(event.message);
    else if (event.event === 'progress') progress.update(event.job, event.done, event.total);
    else progress.update('layers', sum(event, 'stored'), sum(event, 'size'));
  };
}
