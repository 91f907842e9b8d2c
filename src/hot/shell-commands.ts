/** Commands and paths of one script that are looked at. */
const commandsMax = 64;
const pathsMax = 64;
/** Words in front of a command that are not the command. */
const leadingWords = new Set([
  ...['if', 'then', 'else', 'elif', 'while', 'until', 'do', '!', '{', 'exec', 'command', 'builtin'],
  ...['eval', 'time', 'nohup', 'sudo'],
]);

/** What a text for a shell names. */
export interface ShellCommands {
  /** Command lines, in order: a program and its arguments, as far as they are plain words. */
  readonly commands: readonly (readonly string[])[];
  /** Absolute paths, which may have `*` in them. */
  readonly paths: readonly string[];
}

/**
 * The commands that a script may run, guessed without running it: neither conditions nor variables are
 * looked at.
 */
export function shellCommands(text: string): ShellCommands {
  const plain = text.replaceAll(/\\\r?\n/g, ' ').replaceAll(/(^|\s)#.*/g, '$1');
  const commands: string[][] = [];
  const known = new Set<string>();
  for (const piece of plain.split(/&&|\|\||[\n;|&()`{}]/)) {
    const words = wordsOf(piece);
    const first = words.findIndex((word) => !leadingWords.has(word) && !/^\w+=/.test(word));
    const command = first < 0 ? [] : words.slice(first);
    const name = command[0] ?? '';
    const key = command.join(' ');
    if (!/^[\w./+-]+$/.test(name) || known.has(key) || commands.length >= commandsMax) continue;
    known.add(key);
    commands.push(command);
  }
  const paths = plain.match(/(?<![\w.*$}/])\/[\w.*/+-]{0,255}[\w*]/g) ?? [];
  return { commands, paths: [...new Set(paths)].slice(0, pathsMax) };
}

/** Split at blanks, without the quotes around a word. */
function wordsOf(piece: string): string[] {
  const words = piece.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
  return words.map((word) => word.replaceAll(/["']/g, ''));
}
