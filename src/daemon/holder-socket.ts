import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { describeError, isThinError } from '../errors.js';
import type { Holder } from './holder.js';
import {
  type HolderAnswer,
  holderProtocolVersion,
  type ServerSettings,
  type StartReport,
} from './holder-protocol.js';
import { isRecord, isTextList, isTextRecord, onJsonLine } from './json-lines.js';
import type { Refusal } from './server-process.js';

/**
 * Answers commands on `holder.sock`. The caller's server has the root's lock and nobody listens, so
 * a socket file that is there belongs to a dead holder.
 */
export async function listenAsHolder(path: string, holder: Holder): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {}); // a command that was interrupted
    onJsonLine(socket, (line) => void respond(holder, line, socket));
  });
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

async function respond(
  holder: Holder,
  line: Readonly<Record<string, unknown>>,
  socket: Socket,
): Promise<void> {
  let answer: HolderAnswer;
  try {
    const failure = await perform(holder, line);
    answer = failure ? { ok: false, ...failure } : { ok: true, status: holder.status() };
  } catch (error) {
    const code = isThinError(error) ? error.code : 'unavailable';
    answer = { ok: false, code, message: describeError(error) };
  }
  socket.end(`${JSON.stringify(answer)}\n`);
}

async function perform(
  holder: Holder,
  line: Readonly<Record<string, unknown>>,
): Promise<Refusal | undefined> {
  const { version, op, force, unmount } = line;
  if (version !== holderProtocolVersion) {
    const wanted = `wanted ${holderProtocolVersion}; thin daemon cleanup ends what runs`;
    return invalid(`protocol version ${version} (${wanted})`);
  }
  if (op === 'status') return undefined;
  if (op === 'wait') return holder.finished.then(() => undefined);
  if (op === 'stop') return holder.stop({ force: force === true, unmount: unmount === true });
  const settings = readSettings(line.settings);
  if (!settings) return invalid('settings of a server that are none');
  if (op === 'start') return failureOf(await holder.start(settings));
  if (op === 'restart') return failureOf(await holder.restart(settings, force === true));
  return invalid(`operation ${op}`);
}

function invalid(what: string): Refusal {
  return { code: 'invalid', message: `Cannot answer: ${what}` };
}

function failureOf(report: StartReport): Refusal | undefined {
  return report.ready ? undefined : report;
}

function readSettings(value: unknown): ServerSettings | undefined {
  if (!isRecord(value)) return undefined;
  const { node, nodeArguments, program, flags, env } = value;
  if (typeof node !== 'string' || typeof program !== 'string') return undefined;
  if (!isTextList(nodeArguments) || !isRecord(flags) || !isTextRecord(env)) return undefined;
  const checked: Record<string, string[]> = {};
  for (const [name, words] of Object.entries(flags)) {
    if (!isTextList(words)) return undefined;
    checked[name] = words;
  }
  return { node, nodeArguments, program, flags: checked, env };
}
