import { type ChildProcess, spawn } from 'node:child_process';
import { z } from 'zod';
import { ThinError } from '../errors.js';
import type { Credentials } from './credentials.js';

/** Milliseconds: a helper may ask a cloud's API, or a person to touch a key. */
const helperTimeoutMs = 30_000;
/** Bytes of a helper's answer. */
const helperOutputMax = 256 * 1024;
/** What helpers answer, by protocol, if they know nothing of a server. */
const notFound = /credentials not found/i;

const answerSchema = z.object({ Username: z.string(), Secret: z.string() });

/**
 * Runs `docker-credential-<name> get` for `server`.
 * @returns undefined if the helper has no credentials for it
 * @throws ThinError `denied` if it cannot be run, fails, or does not end in 30 s. What it said is not
 *   shown: it may be the secret.
 * @see https://github.com/docker/docker-credential-helpers#development
 */
export async function askCredentialHelper(
  name: string,
  server: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  const fail = (problem: string): ThinError =>
    new ThinError('denied', `Cannot get credentials for ${server} from ${program}: ${problem}`);
  if (!/^[A-Za-z0-9._-]{1,100}$/.test(name)) throw fail('the name of the helper is malformed');
  const { output, status } = await run(program, server, fail, signal);
  if (status !== 0 && notFound.test(output)) return undefined;
  if (status !== 0) throw fail(`it ended with ${status}`);
  const answer = parseAnswer(output);
  if (!answer) throw fail('its answer is malformed (wanted JSON with Username and Secret)');
  if (answer.Username === '' && answer.Secret === '') return undefined;
  if (answer.Username === '<token>') return { identityToken: answer.Secret };
  return { username: answer.Username, password: answer.Secret };
}

function parseAnswer(output: string): z.infer<typeof answerSchema> | undefined {
  try {
    return answerSchema.safeParse(JSON.parse(output)).data;
  } catch {
    return undefined;
  }
}

function run(
  program: string,
  input: string,
  fail: (problem: string) => ThinError,
  signal: AbortSignal,
): Promise<{ output: string; status: number | string }> {
  const child: ChildProcess = spawn(program, ['get'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    killSignal: 'SIGKILL',
    signal,
  });
  const { stdin, stdout } = child; // not there if it cannot be started for want of files
  const stop = (): void => {
    clearTimeout(deadline);
    child.kill('SIGKILL');
    stdout?.destroy(); // what it has started may hold the other end
  };
  // spawn's own timeout keeps the process alive if the program cannot be started
  const deadline = setTimeout(stop, helperTimeoutMs);
  const parts: Buffer[] = [];
  let length = 0;
  stdout?.on('data', (bytes: Buffer) => {
    length += bytes.length;
    if (length > helperOutputMax) stop();
    else parts.push(bytes);
  });
  stdin?.on('error', () => undefined); // a helper need not read its input
  stdin?.end(`${input}\n`);
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      stop();
      const canceled = new ThinError(
        'canceled',
        `Cannot get credentials from ${program}: canceled`,
        { cause },
      );
      const missing = 'code' in cause && cause.code === 'ENOENT';
      reject(
        signal.aborted ? canceled : fail(missing ? 'it is not installed' : 'it cannot be run'),
      );
    });
    child.once('close', (code, killedBy) => {
      clearTimeout(deadline);
      resolve({ output: Buffer.concat(parts).toString('utf8'), status: code ?? killedBy ?? -1 });
    });
  });
}
