/** One way in which a server offers to be convinced. */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** By lower-case name. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Characters of the headers of one answer; undici limits all headers to 16 KiB. */
const challengeLengthMax = 16 * 1024;

/**
 * Reads the values of WWW-Authenticate headers. Total: what is malformed, and everything behind it in
 * the same header, is left out.
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.www-authenticate
 */
export function parseChallenges(headers: readonly string[]): Challenge[] {
  return headers.flatMap((header) => {
    return header.length > challengeLengthMax ? [] : parseHeader(header);
  });
}

const separator = /[ \t]*(?:,[ \t]*)*/y;
const schemeToken = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]+|(?=,)|$)/y;
/** `name=token` or `name="quoted, with \" escapes"`, up to a comma or the end. */
const parameter =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z:/-]+))[ \t]*(?=,|$)/y;
const token68 = /[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)/y;

function parseHeader(header: string): Challenge[] {
  const found: Challenge[] = [];
  let parameters: Map<string, string> | undefined;
  let at = 0;
  const take = (grammar: RegExp): RegExpExecArray | null => {
    grammar.lastIndex = at;
    const match = grammar.exec(header);
    if (match) at = grammar.lastIndex;
    return match;
  };
  for (take(separator); at < header.length; take(separator)) {
    const named = parameters && take(parameter);
    if (named) {
      const [, name = '', quoted, token] = named;
      parameters?.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? token ?? '');
      continue;
    }
    if (parameters?.size === 0 && take(token68)) continue; // `Negotiate YII=`: not for us
    const scheme = take(schemeToken)?.[1];
    if (scheme === undefined) break;
    parameters = new Map();
    found.push({ scheme: scheme.toLowerCase(), parameters });
  }
  return found;
}
