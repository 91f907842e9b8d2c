import { spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { describeError } from '../errors.js';
import { holderLog } from './holder-log.js';
import {
  adoptVariable,
  deviceDescriptor,
  deviceVariable,
  linkDescriptor,
  type ServerSettings,
} from './holder-protocol.js';
import { serverNodeArguments } from './server-process.js';

/** A small heap, and no threads for collecting it. */
const holderNodeArguments = [
  '--max-old-space-size=32',
  '--max-semi-space-size=1',
  '--v8-pool-size=0',
];

/** Node's arguments of this process for a server. */
export function withoutHolderArguments(nodeArguments: readonly string[]): string[] {
  const ours = [...holderNodeArguments, ...serverNodeArguments];
  return nodeArguments.filter((argument) => !ours.includes(argument));
}

/**
 * Starts a holder that goes on when we end. Never fails.
 * @param adopted process id of the server that it is to take over; 0: the device alone
 * @returns the link between the two; of one that cannot be started, for want of memory say, it closes
 */
export function spawnHolder(
  settings: ServerSettings,
  adopted: number,
  device: number | undefined,
): Socket {
  try {
    return startHolder(settings, adopted, device);
  } catch (error) {
    holderLog('error', `Cannot start a holder: ${describeError(error)}`);
    return new Socket().destroy();
  }
}

function startHolder(
  settings: ServerSettings,
  adopted: number,
  device: number | undefined,
): Socket {
  const { node, nodeArguments, program, flags, env } = settings;
  const words = [program, 'daemon', 'run', ...Object.values(flags).flat()];
  const child = spawn(node, [...holderNodeArguments, ...nodeArguments, ...words], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'inherit', 'inherit', 'pipe', device ?? 'ignore'],
    env: {
      ...process.env,
      ...env,
      UV_THREADPOOL_SIZE: '1',
      [adoptVariable]: `${adopted}`,
      [deviceVariable]: device === undefined ? undefined : `${deviceDescriptor}`,
    },
  });
  child.once('error', (error) => holderLog('error', `Cannot start a holder: ${error.message}`));
  child.unref();
  const link = child.stdio?.[linkDescriptor]; // there is none for want of descriptors
  return link instanceof Socket ? link : new Socket().destroy();
}

/** Undefined where there is none, or not for us: then no mount depends on the holder. */
export function openFuseDevice(): number | undefined {
  const path = '/dev/fuse';
  if (process.geteuid?.() !== 0 || !existsSync(path)) return undefined;
  try {
    return openSync(path, 'r+');
  } catch (error) {
    holderLog('warn', `Cannot open ${path}: ${describeError(error)}`);
    return undefined;
  }
}
