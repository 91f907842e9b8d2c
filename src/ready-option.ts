import { ThinError } from './errors.js';

/** When a container counts as started, for what is learned of its start. */
export type ReadySign =
  /** The image's health check succeeds. */
  | { readonly kind: 'health' }
  /** A TCP port of this machine takes connections. */
  | { readonly kind: 'tcp'; readonly port: number }
  /** A line of its output has this text. */
  | { readonly kind: 'line'; readonly text: string }
  | { readonly kind: 'seconds'; readonly seconds: number };

export const readySyntax = '<health|tcp:PORT|line:TEXT|SECONDSs>';

/** @throws ThinError `invalid` */
export function parseReadySign(text: string): ReadySign {
  if (text === 'health') return { kind: 'health' };
  const port = /^tcp:([0-9]{1,5})$/.exec(text)?.[1];
  if (port !== undefined && Number(port) >= 1 && Number(port) <= 65_535) {
    return { kind: 'tcp', port: Number(port) };
  }
  if (text.startsWith('line:') && text.length > 5) return { kind: 'line', text: text.slice(5) };
  const seconds = /^([0-9]{1,4}(?:\.[0-9]{1,3})?)s?$/.exec(text)?.[1];
  if (seconds !== undefined) return { kind: 'seconds', seconds: Number(seconds) };
  throw new ThinError(
    'invalid',
    `Cannot use --ready ${text}: wanted health, tcp:<port>, line:<text> or seconds`,
  );
}
