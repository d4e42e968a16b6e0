import { highest, highestOf, Sampler, type Sampling } from "./sampling.ts";

/** A decoder in the midst of R sentences about one picture. */
export interface Rows {
  /** One more token for each of the R sentences, to the logits (R, V) of the next. */
  next(tokens: readonly number[]): Promise<Float32Array[]>;
  /** Go on with these of the rows; some may be left out, some taken twice. */
  reorder(rows: readonly number[]): void;
}

/** One sentence: tokens without the first and the end token; `cut` where the limit came before the end. */
export interface Sentence {
  tokens: number[];
  score: number;
  cut: boolean;
}

/**
 * The best `beams` sentences, best first: the beam search of `edgevision caption --beams`, which is that of
 * Hugging Face's `generate` with `early_stopping=False`.
 *
 * @param limit tokens, the end token included.
 * @param penalty power of the length that scores are divided by.
 * @param distinct no sequence of that many tokens occurs twice; 0 for any.
 */
export async function search(
  rows: Rows, start: number, end: number, beams: number, limit: number, penalty = 1, distinct = 0,
): Promise<Sentence[]> {
  let running: number[][] = Array.from({ length: beams }, () => [start]);
  let scores: number[] = running.map((_, row) => (row === 0 ? 0 : -1e9)); // all rows are the same yet: one counts
  let finished: [score: number, tokens: number[]][] = [];
  for (let length = 1; length <= Math.max(limit, 1); length++) {
    const known = (await rows.next(running.map((text) => text.at(-1)!))).map(logSoftmax);
    if (distinct > 0) {
      running.forEach((text, row) => repeated(text, distinct).forEach((token) => (known[row]![token] = -Infinity)));
    }
    const vocabulary = known[0]!.length;
    const total = new Float64Array(beams * vocabulary);
    known.forEach((row, origin) => row.forEach((value, token) => {
      total[origin * vocabulary + token] = scores[origin]! + value;
    }));
    const going: number[] = [];
    highest(total, Math.min(2 * beams, total.length)).forEach((place, rank) => {
      const token = place % vocabulary;
      if (token === end || length === limit) {
        const tokens = [...running[Math.floor(place / vocabulary)]!, token];
        if (rank < beams) finished.push([total[place]! / length ** penalty, tokens]);
      } else if (going.length < beams) {
        going.push(place);
      }
    });
    finished = finished.sort((a, b) => b[0] - a[0]).slice(0, beams);
    if (length === limit || going.length === 0) break;
    const origins = going.map((place) => Math.floor(place / vocabulary));
    running = going.map((place, row) => [...running[origins[row]!]!, place % vocabulary]);
    scores = going.map((place) => total[place]!);
    if (finished.length === beams && scores[0]! / length ** penalty <= finished.at(-1)![0]) break;
    rows.reorder(origins);
  }
  return finished.map(([score, tokens]) => {
    return { tokens: tokens.slice(1).filter((token) => token !== end), score, cut: tokens.at(-1) !== end };
  });
}

/**
 * `count` sentences, drawn token by token; a temperature of 0 takes the most probable each time.
 *
 * @param show is given the tokens of the first sentence so far.
 */
export async function draw(
  rows: Rows, start: number, end: number, limit: number, sampling: Sampling, count = 1,
  show: (tokens: readonly number[]) => void = () => {},
): Promise<Sentence[]> {
  const samplers = Array.from({ length: count }, (_, row) => new Sampler(sampling, row));
  const texts: number[][] = samplers.map(() => []);
  const sums = texts.map(() => 0);
  const tokens = texts.map(() => start);
  for (let step = 0; step < limit; step++) {
    const open = [...texts.keys()].filter((row) => texts[row]!.at(-1) !== end);
    if (open.length === 0) break;
    const logits = await rows.next(tokens);
    for (const row of open) {
      const token = samplers[row]!.choose(logits[row]!, texts[row]!);
      tokens[row] = token;
      sums[row]! += logSoftmax(logits[row]!)[token]!;
      texts[row]!.push(token);
    }
    if (texts[0]!.at(-1) !== end) show(texts[0]!);
  }
  return texts.map((text, row) => {
    return { tokens: text.filter((token) => token !== end), score: sums[row]! / text.length, cut: text.at(-1) !== end };
  });
}

function logSoftmax(logits: Float32Array): Float64Array {
  const known = new Float64Array(logits);
  const most = highestOf(known);
  let total = 0;
  for (let token = 0; token < known.length; token++) total += Math.exp((known[token]! -= most));
  const sum = Math.log(total);
  for (let token = 0; token < known.length; token++) known[token]! -= sum;
  return known;
}

/** Tokens that would repeat a sequence of `length` tokens of the text. */
function repeated(text: readonly number[], length: number): number[] {
  const tail = text.slice(Math.max(text.length - length + 1, 0));
  return [...text.keys()]
    .filter((place) => place + length <= text.length && tail.every((token, near) => token === text[place + near]))
    .map((place) => text[place + length - 1]!);
}
