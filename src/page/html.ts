/** Markup: our own words, and data that was escaped. */
export class Html {
  readonly #text: string;

  /** @param text markup that no data has gone into; everything else goes through {@link html} */
  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

export type HtmlPart = Html | string | number | undefined | readonly HtmlPart[];

/** A template whose values are escaped, in text and between double quotes; markup stays markup. */
export function html(words: TemplateStringsArray, ...values: readonly HtmlPart[]): Html {
  const parts = words.map((word, at) => word + shown(values[at]));
  return new Html(parts.join(''));
}

function shown(part: HtmlPart): string {
  if (part === undefined) return '';
  if (part instanceof Html) return part.toString();
  if (typeof part === 'object') return part.map(shown).join('');
  return escaped(`${part}`);
}

/** Control characters, which no document may hold, become visible ones. */
function escaped(text: string): string {
  return text
    .replace(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replace(/\p{Cc}/gu, (character) => (/[\t\n]/.test(character) ? ' ' : '\u{fffd}'));
}
