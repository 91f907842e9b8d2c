/** One import statement of a module. */
export interface PythonImport {
  /** Dots in front of the name: 0 is absolute, 1 the importer's own package. */
  readonly level: number;
  /** `a.b`; empty for `from . import c`. */
  readonly name: string;
  /** Of `from`: what is taken of it, which may be modules too. */
  readonly members: readonly string[];
}

/** Import statements of one file. */
export const importsMax = 4096;
/** Blocks that do not run while a module is imported, and while it is the program. */
const notRunInMain = /^(async[ \t]+)?def[ \t]|^if[ \t]+(\w+\.)?TYPE_CHECKING\b/;
const notRun = new RegExp(`${notRunInMain.source}|^if[ \\t]+__name__\\b`);

/**
 * The imports of a module's top level, in order; those of functions come when they are called. A
 * guess, made line by line: also what is imported under a condition counts.
 * @param isMain whether it is the program's own module, whose last part runs too
 */
export function importsOfSource(text: string, isMain = false): PythonImport[] {
  const skipped = isMain ? notRunInMain : notRun;
  const imports: PythonImport[] = [];
  let skippedIndent = Number.POSITIVE_INFINITY;
  for (const line of logicalLines(text)) {
    const statement = line.trimStart();
    if (statement === '' || statement.startsWith('#')) continue;
    const indent = line.length - statement.length;
    if (indent > skippedIndent) continue;
    skippedIndent = skipped.test(statement) ? indent : Number.POSITIVE_INFINITY;
    if (skippedIndent === indent || !statement.includes('import')) continue;
    for (const part of statement.split(/[;:]/)) {
      for (const one of importsOfStatement(part.trim())) imports.push(one);
    }
    if (imports.length >= importsMax) break;
  }
  return imports.slice(0, importsMax);
}

/** Bounded, as an image may hold anything: what looks like the beginning of many lists has no long ones. */
const listInBrackets = /\bimport[ \t]{0,16}\(([^()]{0,16384})\)/g;

/** Without texts of several lines, and with lists in brackets and continued lines in one line. */
function logicalLines(text: string): string[] {
  const plain = text.replaceAll(/("""|''')[\s\S]*?\1/g, "''").replaceAll(/\\\r?\n/g, ' ');
  const flat = plain.replaceAll(listInBrackets, (_, list: string) => {
    return `import ${list.replaceAll(/#.*/g, '').replaceAll(/\s+/g, ' ')}`;
  });
  return flat.split(/\r?\n/);
}

function importsOfStatement(text: string): PythonImport[] {
  const statement = text.replaceAll(/\s+/g, ' ');
  const plain = /^import ([\w., ]+)/.exec(statement);
  if (plain) return firstWords(plain[1]).map((name) => ({ level: 0, name, members: [] }));
  const from = /^from (\.*) ?(\w[\w.]*)? import ([\w*, ]+)/.exec(statement);
  if (!from) return [];
  const [, dots = '', name = '', members] = from;
  return [{ level: dots.length, name, members: firstWords(members) }];
}

/** Of `a as b, c`: `a` and `c`. */
function firstWords(list = ''): string[] {
  const names = list.split(',').map((name) => name.trim().split(/\s/)[0] ?? '');
  return names.filter((name) => name !== '');
}
