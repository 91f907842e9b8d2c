import { emitKeypressEvents } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ControlClient } from '../daemon/control-client.js';
import type { Activity } from '../daemon/observation.js';
import { isThinError } from '../errors.js';
import { activityRows, activityTable } from './activity-table.js';
import { addNodeFlags, connectDaemon, type NodeFlags } from './connection.js';
import type { Run } from './program.js';

/** Milliseconds between two looks. */
const lookMs = 1000;
/** Columns where the output is no terminal: nothing is cut off. */
const unlimited = Number.MAX_SAFE_INTEGER;

interface TopFlags extends NodeFlags {
  once: boolean;
  json?: boolean;
}

export function addTopCommand(program: Command, run: Run): void {
  addNodeFlags(program.command('top'))
    .description('What images fetch and wait for, each second; q ends it')
    .option('--once', 'one look, over one second', false)
    .option('--json', 'a line of JSON for each look')
    .action(async (flags: TopFlags) => {
      const client = await connectDaemon(flags, run.signal);
      const live = process.stdout.isTTY && !flags.once && !flags.json;
      await (live ? showLive(client, run.signal) : showLines(client, flags, run.signal));
    });
}

/** Two looks make rates. */
async function* looks(client: ControlClient, signal: AbortSignal) {
  let before: Activity | undefined;
  for (;;) {
    const now = await client.call('activity', {}, { signal });
    if (before) yield { rows: activityRows(before, now), now };
    before = now;
    await delay(lookMs, undefined, { signal });
  }
}

async function showLines(client: ControlClient, flags: TopFlags, signal: AbortSignal) {
  for await (const { rows, now } of looks(client, signal)) {
    const { hosts, waiting } = now;
    const text = flags.json
      ? JSON.stringify({ rows, hosts, waiting })
      : activityTable(rows, unlimited).join('\n');
    process.stdout.write(`${text}\n`);
    if (flags.once) return;
  }
}

const screen = {
  /** The alternate screen: what was there before comes back at the end. */
  enter: '\x1b[?1049h\x1b[?25l',
  leave: '\x1b[?25h\x1b[?1049l',
  home: '\x1b[H',
  restOfLine: '\x1b[K',
  restOfScreen: '\x1b[J',
} as const;

async function showLive(client: ControlClient, signal: AbortSignal): Promise<void> {
  const quit = new AbortController();
  const stop = (): void => quit.abort();
  signal.addEventListener('abort', stop, { once: true });
  const keys = listenToKeys(stop);
  process.stdout.write(screen.enter);
  try {
    for await (const { rows, now } of looks(client, quit.signal)) draw(rows, now);
  } catch (error) {
    if (!quit.signal.aborted || (isThinError(error) && error.code !== 'canceled')) throw error;
  } finally {
    process.stdout.write(screen.leave);
    keys[Symbol.dispose]();
    signal.removeEventListener('abort', stop);
  }
}

function draw(rows: ReturnType<typeof activityRows>, { hosts, waiting }: Activity): void {
  const { columns, rows: height } = process.stdout;
  const down = hosts.filter(({ state }) => state === 'down').map(({ source }) => source);
  const outage = down.length > 0 ? `, DOWN: ${down.join(', ')}` : '';
  const head = `thin top: ${waiting} reads wait${outage} (q quits)`;
  const lines = [head.slice(0, columns), '', ...activityTable(rows, columns)];
  const text = lines.slice(0, height - 1).map((line) => `${line}${screen.restOfLine}\n`);
  process.stdout.write(`${screen.home}${text.join('')}${screen.restOfScreen}`);
}

/** q and Ctrl-C, which is no signal while the terminal hands on single keys. */
function listenToKeys(stop: () => void): Disposable {
  const { stdin } = process;
  if (!stdin.isTTY) return { [Symbol.dispose]: () => {} };
  const pressed = (_: string | undefined, key: { name?: string; ctrl?: boolean }): void => {
    if (key.name === 'q' || (key.ctrl && key.name === 'c')) stop();
  };
  emitKeypressEvents(stdin);
  stdin.setRawMode(true).on('keypress', pressed).resume();
  return {
    [Symbol.dispose]: () => {
      stdin.off('keypress', pressed).setRawMode(false).pause();
    },
  };
}
