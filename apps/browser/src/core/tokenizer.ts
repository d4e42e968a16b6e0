import { Failure } from "./failure.ts";

/** Unicode's White_Space, which JavaScript's \s is not. */
const BLANK = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** GPT-2's pieces of a text. */
const WORDS = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${BLANK}\\p{L}\\p{N}]+|[${BLANK}]+(?![^${BLANK}])|[${BLANK}]+`, "gu",
);

/** GPT-2's character for each byte: itself where it can be seen, else one from U+0100 on. */
const SYMBOLS: readonly string[] = (() => {
  let next = 0x100;
  const seen = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(seen(byte) ? byte : next++));
})();
const BYTES = new Map(SYMBOLS.map((symbol, byte) => [symbol, byte]));

/**
 * Byte-level byte-pair encoding (Sennrich et al., 2016; GPT-2's alphabet of bytes) as a `tokenizer.json` holds it:
 * what `edgevision train` writes for characters and for byte pairs, and most small language models.
 */
export class Tokenizer {
  /** Number of tokens, special ones included. */
  readonly size: number;
  private readonly numbers: ReadonlyMap<string, number>;
  private readonly texts: ReadonlyMap<number, string>;
  private readonly merges = new Map<string, { rank: number; token: number }>();
  private readonly special: readonly { content: string; id: number }[];
  private readonly splits: boolean;
  private readonly alphabet: ReadonlySet<string> | null;

  /** @param json of a tokenizer.json. */
  constructor(json: string) {
    const file = read(json);
    const [before, after, model] = [file.pre_tokenizer ?? {}, file.decoder ?? {}, file.model ?? {}];
    const plain = !file.normalizer && !before.add_prefix_space && (model.type ?? "BPE") === "BPE";
    if (!plain || before.type !== "ByteLevel" || after.type !== "ByteLevel") {
      throw new Failure("The tokenizer is no byte-level BPE, the only kind that this app reads.");
    }
    this.splits = before.use_regex !== false;
    this.numbers = new Map(Object.entries(model.vocab ?? {}));
    this.special = (file.added_tokens ?? []).toSorted((a, b) => b.content.length - a.content.length);
    const texts = new Map([...this.numbers].map(([text, number]) => [number, text]));
    for (const { content, id } of this.special) texts.set(id, content);
    this.texts = texts;
    this.size = texts.size;
    (model.merges ?? []).forEach((entry, rank) => {
      const pair = typeof entry === "string" ? entry.split(" ") : entry;
      const [left, right] = pair.map((text) => this.numbers.get(text));
      const token = this.numbers.get(pair.join(""));
      if (left === undefined || right === undefined || token === undefined || pair.length !== 2) {
        throw new Failure(`tokenizer.json is damaged: merge ${rank} is of unknown tokens.`);
      }
      this.merges.set(`${left} ${right}`, { rank, token });
    });
    this.alphabet = SYMBOLS.every((symbol) => this.numbers.has(symbol)) ? null : this.characters();
  }

  /** The tokens of a text; special tokens in it are recognised. */
  encode(text: string): number[] {
    const tokens: number[] = [];
    let plain = 0;
    for (let place = 0; place < text.length;) {
      const found = this.special.find(({ content }) => text.startsWith(content, place));
      if (found) {
        tokens.push(...this.plain(text.slice(plain, place)), found.id);
        plain = place + found.content.length;
      }
      place = found ? plain : place + 1;
    }
    return tokens.concat(this.plain(text.slice(plain)));
  }

  /** The text of tokens, special ones left out; bytes that are no text become U+FFFD. */
  decode(tokens: readonly number[]): string {
    const hidden = new Set(this.special.map(({ id }) => id));
    const bytes = tokens.filter((token) => !hidden.has(token)).flatMap((token) => bytesOf(this.texts.get(token) ?? ""));
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }

  /** What a tokenizer of characters knows. */
  private characters(): Set<string> {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const texts = [...this.numbers.keys()].map((token) => decoder.decode(Uint8Array.from(bytesOf(token))));
    return new Set(texts.filter((text) => text !== "\ufffd" && [...text].length === 1));
  }

  private plain(text: string): number[] {
    const strange = this.alphabet && [...text].find((character) => !this.alphabet!.has(character));
    if (strange) throw new Failure(`The model knows no character “${strange}”: it was trained on others.`);
    const words = this.splits ? (text.match(WORDS) ?? []) : [text];
    return words.flatMap((word) => this.merged(word));
  }

  /** The pair of the lowest rank is joined, the leftmost first, until none is left. */
  private merged(word: string): number[] {
    const bytes = Array.from(new TextEncoder().encode(word));
    const tokens = bytes.map((byte) => this.numbers.get(SYMBOLS[byte]!)).filter((token) => token !== undefined);
    const merge = (place: number) => this.merges.get(`${tokens[place]} ${tokens[place + 1]}`);
    const ranks = tokens.map((_, place) => merge(place)?.rank ?? Infinity);
    for (;;) {
      let place = 0;
      ranks.forEach((rank, other) => (place = rank < ranks[place]! ? other : place));
      const joined = tokens.length > 0 ? merge(place) : undefined;
      if (!joined) return tokens;
      tokens.splice(place, 2, joined.token);
      ranks.splice(place + 1, 1);
      for (const near of [place - 1, place]) if (near >= 0) ranks[near] = merge(near)?.rank ?? Infinity;
    }
  }
}

interface File {
  normalizer?: unknown;
  pre_tokenizer?: { type?: string; add_prefix_space?: boolean; use_regex?: boolean } | null;
  decoder?: { type?: string } | null;
  model?: { type?: string; vocab?: Record<string, number>; merges?: (string | string[])[] };
  added_tokens?: { content: string; id: number }[];
}

function read(json: string): File {
  try {
    return JSON.parse(json) as File;
  } catch {
    throw new Failure("tokenizer.json is damaged.");
  }
}

function bytesOf(token: string): number[] {
  const known = Array.from(token, (symbol) => BYTES.get(symbol));
  return known.includes(undefined) ? Array.from(new TextEncoder().encode(token)) : (known as number[]);
}
