import { residentMemory } from '../../native-bindings/resident-memory.js';
import { type Answer, answer } from './answer.js';
import { readRequest, sendReply } from './device.js';
import { errnoOfNamespace } from './errno.js';
import type { FileContent, Namespace } from './namespace.js';
import { errno, opcodes, readBytesMax, replyHeaderBytes, requestBytesMax } from './protocol.js';
import { decodeInterrupt, decodeRead, decodeRequest, type FuseRequest } from './request.js';

/** A READ that somebody else answers, by `unique`. */
export interface ForwardedRead extends FileContent {
  readonly unique: bigint;
  readonly node: number;
  readonly offset: number;
  /** Bytes, all of them inside the file; at least 1. */
  readonly length: number;
  readonly pid: number;
}

/** What a server does besides answering from its namespace. */
export interface ServeHooks {
  /**
   * Reads from what is complete on this machine.
   * @returns false if it is not here; then the read is forwarded
   */
  readLocal(file: FileContent, offset: number, target: Buffer, node: number): boolean;
  forwardRead(read: ForwardedRead): void;
  /** The kernel no longer insists on the answer to `unique`. */
  interrupt(unique: bigint): void;
  initialized(accepted: boolean): void;
  /** A request was read, and is answered next: the moment to hear what is new. */
  received?(): void;
  /** True if the loop is to end after this request. */
  stopped(): boolean;
}

/**
 * Answers the requests of one connection in this thread, one after the other, until the mount is
 * gone or the hooks say so. Reads that are not local are handed on, so that nothing here waits for a network.
 * This thread must touch no path below the mount: it would wait for itself.
 */
export function serveDevice(device: number, namespace: Namespace, hooks: ServeHooks): void {
  // A thread that is being killed may still take a request. It is asked again from the next server,
  // unless the request could not be copied to here: a page fault of a dying thread fails it with EIO.
  const input = residentMemory(requestBytesMax);
  const output = residentMemory(replyHeaderBytes + readBytesMax);
  const body = output.subarray(replyHeaderBytes);
  while (!hooks.stopped()) {
    const length = readRequest(device, input);
    if (length === 'ended') return;
    hooks.received?.();
    const request = decodeRequest(input.subarray(0, length));
    if (!request) continue;
    const result = respond(namespace, hooks, request, body);
    if (result === 'none') continue;
    const error = result < 0 ? -result : 0;
    sendReply(device, request.unique, error, output, error ? 0 : result);
    if (request.opcode === opcodes.init) hooks.initialized(!error);
  }
}

/** As {@link answer}, with READ and INTERRUPT. `none`: no reply, or not from here. */
export function respond(
  namespace: Namespace,
  hooks: ServeHooks,
  request: FuseRequest,
  body: Buffer,
): Answer {
  if (request.opcode === opcodes.read) return respondToRead(namespace, hooks, request, body);
  if (request.opcode === opcodes.interrupt) {
    const unique = decodeInterrupt(request.body);
    if (unique !== undefined) hooks.interrupt(unique);
    return 'none';
  }
  return answer(namespace, request, body);
}

function respondToRead(
  namespace: Namespace,
  hooks: ServeHooks,
  request: FuseRequest,
  body: Buffer,
): Answer {
  const range = decodeRead(request.body);
  if (!range) return -errno.EINVAL;
  let file: FileContent | undefined;
  try {
    file = namespace.file(request.node);
  } catch (error) {
    return -errnoOfNamespace(error);
  }
  if (!file || range.offset >= file.size) return 0;
  const length = Math.min(range.size, file.size - range.offset, body.length);
  if (length === 0) return 0;
  const { unique, pid, node } = request;
  if (hooks.readLocal(file, range.offset, body.subarray(0, length), node)) return length;
  hooks.forwardRead({ ...file, unique, pid, node, offset: range.offset, length });
  return 'none';
}
