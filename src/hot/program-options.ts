/** What an interpreter is told before the script that it runs. */
export interface ProgramOptions {
  /** Each with its value, `''` if it takes none: `['-W', 'ignore']`, `['--import', './hook.js']`. */
  readonly options: readonly (readonly [name: string, value: string])[];
  /** The script and what is for it; only the latter if an option of `ending` came. */
  readonly rest: readonly string[];
}

/**
 * Takes a command line apart as getopt does: letters may share one `-`, values may stand in the same word.
 * @param valued options that take a value; the others take none
 * @param ending options behind which nothing is the program's own (`python3 -m name`)
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap12.html
 */
export function programOptions(
  args: readonly string[],
  valued: readonly string[],
  ending: readonly string[] = [],
): ProgramOptions {
  const options: (readonly [string, string])[] = [];
  let at = 0;
  let isOver = false;
  while (!isOver) {
    const word = args[at];
    if (word === undefined || word === '-' || !word.startsWith('-')) break;
    at += 1;
    if (word === '--') break;
    for (const name of word.startsWith('--') ? [word] : lettersOf(word, valued)) {
      const isApart = valued.includes(name);
      const option = isApart ? ([name, args[at] ?? ''] as const) : splitOption(name);
      if (isApart) at += 1;
      options.push(option);
      isOver ||= ending.includes(option[0]);
    }
  }
  return { options, rest: args.slice(at) };
}

/** `-xo` are `-x` and `-o`; behind a letter that takes a value is that value. */
function lettersOf(word: string, valued: readonly string[]): string[] {
  const names: string[] = [];
  for (let at = 1; at < word.length; at++) {
    const name = `-${word[at]}`;
    const isLast = valued.includes(name);
    names.push(isLast ? name + word.slice(at + 1) : name);
    if (isLast) break;
  }
  return names;
}

/** With the value that stands in the same word. */
function splitOption(word: string): readonly [string, string] {
  if (!word.startsWith('--')) return [word.slice(0, 2), word.slice(2)];
  const equals = word.indexOf('=');
  return equals < 0 ? [word, ''] : [word.slice(0, equals), word.slice(equals + 1)];
}
