import type { z } from 'zod';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';

/**
 * Reads `bytes` as a JSON document of `schema`. `null` is the same as absent, as in the Go programs
 * that write these documents; unknown fields are left out.
 * @param what the document, for messages: `manifest`, `image config`
 * @throws ThinError `corrupt` if it is larger than 4 MiB, no UTF-8, no JSON or not of the schema.
 */
export function parseJsonDocument<T>(what: string, bytes: Uint8Array, schema: z.ZodType<T>): T {
  if (bytes.length > limits.manifestBytesMax) {
    throw new ThinError(
      'corrupt',
      `Cannot read ${what}: it has ${bytes.length} bytes (wanted at most ${limits.manifestBytesMax})`,
    );
  }
  const read = schema.safeParse(jsonOf(what, bytes));
  if (read.success) return read.data;
  throw new ThinError('corrupt', `Cannot read ${what}: ${firstIssue(read.error)}`);
}

function jsonOf(what: string, bytes: Uint8Array): unknown {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return JSON.parse(text, (_key, value: unknown) => (value === null ? undefined : value));
  } catch {
    // the parser's own message quotes the document
    throw new ThinError('corrupt', `Cannot read ${what}: it is not JSON in UTF-8`);
  }
}

/** Says where and what, without quoting the document: it may hold anything. */
function firstIssue(error: z.ZodError): string {
  const [issue] = error.issues;
  if (!issue) return 'it is not of its schema';
  const path = issue.path.map(String).join('.').slice(0, 100);
  return `${path === '' ? 'the document' : `"${path}"`}: ${issue.message.slice(0, 200)}`;
}
