import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ContainerStart } from '../daemon/control-api.js';
import type { Held } from '../daemon/control-client.js';
import type { MountChoice } from '../daemon/root.js';
import { ThinError } from '../errors.js';
import { parseReadySign, type ReadySign, readySyntax } from '../ready-option.js';
import { parseSize } from '../units.js';
import {
  addImageFlags,
  configOf,
  connectDaemon,
  type ImageFlags,
  imageRequest,
  mountOption,
  showEvents,
  startOption,
} from './connection.js';
import { ContainerTie } from './container-tie.js';
import { exitCodeOfSignal } from './exit-code.js';
import type { Run } from './program.js';
import { openProgress } from './progress.js';

type Runtime = typeof import('../mount/runc.js');

interface RunFlags extends ImageFlags {
  env: string[];
  workdir?: string;
  user?: string;
  entrypoint?: string;
  name?: string;
  hostname?: string;
  rm: boolean;
  interactive?: boolean;
  tty?: boolean;
  net: string;
  volume: string[];
  readOnly: boolean;
  memory?: string;
  ready?: ReadySign;
  runtime?: string;
  quiet?: boolean;
  mount?: MountChoice;
}

const examples = `
Examples:
  thin run localhost:5000/python:1 python3 -c 'print(1)'
  thin run --rm -it debian:12 bash
  thin run --start complete localhost:5000/plain:1    # not before all of it is here
  thin run --store dir:/srv/images -v "$PWD:/work" -w /work node:20 node build.js

The exit code is the command's own. Failures of thin before it starts use the codes that
thin --help lists.`;

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

export function addRunCommand(program: Command, run: Run): void {
  const command = program
    .command('run')
    .description('Run a command in a container whose files are fetched when they are touched')
    .argument('<image>', 'image reference')
    .argument('[command...]', "command and arguments (default: the image's)")
    .passThroughOptions();
  addImageFlags(command)
    .option(
      '-e, --env <name[=value]>',
      'set an environment variable; without value: ours',
      collect,
      [],
    )
    .option('-w, --workdir <folder>', 'working directory in the container')
    .option('-u, --user <user[:group]>', 'user and group, by name or number')
    .option('--entrypoint <program>', 'replace the image\'s entrypoint ("" for none)')
    .option('--name <name>', 'name of the container')
    .option('--hostname <name>', 'host name in the container')
    .option('--rm', "forget the container's own changes when it ends", false)
    .option('-i, --interactive', 'pass standard input')
    .option('-t, --tty', 'give the command a terminal')
    .option('--net <host|none>', "network: the host's, or loopback only", 'host')
    .option('-v, --volume <host:container[:ro]>', 'bind a folder or file of the host', collect, [])
    .option('--read-only', 'no writable layer', false)
    .option('--memory <size>', "limit of the container's memory")
    .option(
      `--ready ${readySyntax}`,
      "when it counts as started, for what is learned of its start (default: the image's health check, else 30s)",
      parseReadySign,
    )
    .option('--runtime <program>', 'OCI runtime, by name or path (default: runc, else crun)')
    .addOption(mountOption())
    .addOption(startOption())
    .option('-q, --quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (image: string, words: string[], flags: RunFlags) => {
      run.setExitCode(await runInContainer(image, words, flags, run));
    });
}

async function runInContainer(
  image: string,
  command: string[],
  flags: RunFlags,
  run: Run,
): Promise<number> {
  const request = await containerRequest(image, command, flags);
  const client = await connectDaemon(flags, run.signal);
  // Loaded while the daemon works: a third of the time that this command takes to load.
  const runtime = import('../mount/runc.js');
  const progress = openProgress(flags.quiet ? 'quiet' : process.stderr.isTTY ? 'bars' : 'lines');
  let held: Held<ContainerStart>;
  try {
    const reconnect = () => connectDaemon(flags, run.signal);
    const options = { signal: run.signal, onEvent: showEvents(progress), reconnect };
    held = await client.hold('container.create', request, options);
  } finally {
    progress.close();
  }
  const { id, bundle } = held.result;
  const tie = new ContainerTie(client, id, held);
  let exitCode = exitCodeOfSignal('SIGKILL');
  try {
    const ready = () => client.call('container.ready', { id }, { signal: run.signal });
    const start = { ...held.result, onReady: () => void ready().catch(() => {}) };
    exitCode = await runForeground(await runtime, start, flags, run);
  } finally {
    run.interrupts.forwardTo(() => {});
    await tie.end(exitCode, {
      connect: () => connectDaemon(flags, new AbortController().signal),
      isUntold: async () => (await import('./untold-end.js')).isUntold(configOf(flags), bundle),
    });
  }
  return exitCode;
}

/** Signals beyond those of every command that `docker run` hands on. */
const forwardedSignals = [
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGALRM',
  'SIGCONT',
] as const;

/** Interrupts that a command gets before it is killed: docker's client gives up after as many. */
const interruptsMax = 3;

/** Hands signals on. Who loses patience with a command that ignores Ctrl-C can end it. */
function forwarding(signal: (name: NodeJS.Signals) => void, kill: () => void) {
  let interrupts = 0;
  return (name: NodeJS.Signals): void => {
    if (name === 'SIGINT') interrupts += 1;
    if (interrupts >= interruptsMax) kill();
    else signal(name);
    if (name === 'SIGINT' && interrupts === interruptsMax - 1) {
      process.stderr.write('the command still runs: interrupt it once more to kill it\n');
    }
  };
}

async function runForeground(
  { runContainer, killContainer }: Runtime,
  start: ContainerStart & { readonly onReady: () => void },
  flags: RunFlags,
  run: Run,
): Promise<number> {
  const key = { id: start.id, runtime: start.runtime, root: start.runtimeRoot };
  const container = runContainer({
    ...key,
    bundle: start.bundle,
    stdin: flags.interactive === true || flags.tty === true,
    ...(flags.ready?.kind === 'line' && {
      line: { text: flags.ready.text, onLine: start.onReady },
    }),
  });
  const kill = (): void => void killContainer(key, 'SIGKILL').catch(() => {}); // it has ended
  const forward = forwarding((name) => container.signal(name), kill);
  run.interrupts.forwardTo(forward);
  for (const name of forwardedSignals) process.on(name, forward);
  try {
    return await container.exitCode;
  } finally {
    for (const name of forwardedSignals) process.off(name, forward);
  }
}

async function containerRequest(image: string, command: string[], flags: RunFlags) {
  if (flags.net !== 'host' && flags.net !== 'none') {
    throw new ThinError('invalid', `Cannot use --net ${flags.net}: wanted host or none`);
  }
  if (flags.ready?.kind === 'tcp' && flags.net !== 'host') {
    throw new ThinError('invalid', 'Cannot use --ready tcp with --net none: no port can be seen');
  }
  if (flags.ready?.kind === 'line' && flags.tty) {
    throw new ThinError('invalid', 'Cannot use --ready line with -t: the terminal has the output');
  }
  if (flags.tty && !process.stdin.isTTY) {
    throw new ThinError('invalid', 'Cannot use -t: standard input is not a terminal');
  }
  const { network, ...optional } = {
    network: flags.net as 'host' | 'none',
    ...(flags.name !== undefined && { name: flags.name }),
    ...(flags.entrypoint !== undefined && { entrypoint: flags.entrypoint }),
    ...(flags.user !== undefined && { user: flags.user }),
    ...(flags.workdir !== undefined && { workdir: flags.workdir }),
    ...(flags.hostname !== undefined && { hostname: flags.hostname }),
    ...(flags.memory !== undefined && { memory: parseSize(flags.memory) }),
    ...(flags.ready !== undefined && { ready: flags.ready }),
    ...(flags.runtime !== undefined && { runtime: absoluteProgram(flags.runtime) }),
  };
  return {
    ...(await imageRequest(image, flags)),
    ...optional,
    requestId: randomUUID(),
    network,
    command,
    remove: flags.rm,
    env: flags.env.flatMap(inheritedVariable),
    volumes: flags.volume.map(absoluteVolume),
    readOnly: flags.readOnly,
    terminal: flags.tty === true,
    form: flags.mount,
  };
}

/** A name stays one. */
function absoluteProgram(text: string): string {
  return text.includes('/') ? resolve(text) : text;
}

/** The daemon's working directory is not ours. */
function absoluteVolume(text: string): string {
  return text.startsWith('.')
    ? resolve(text.replace(/:.*$/s, '')) + text.replace(/^[^:]*/, '')
    : text;
}

/** `NAME` alone takes our value, or is left out when we have none, as docker does. */
function inheritedVariable(text: string): string[] {
  if (text.includes('=')) return [text];
  const value = process.env[text];
  return value === undefined ? [] : [`${text}=${value}`];
}
