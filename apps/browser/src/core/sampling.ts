import { Failure } from "./failure.ts";
import { RandomNumbers } from "./random.ts";

/** How a token is drawn: the settings of `edgevision generate`, with the same meaning and the same draws. */
export interface Sampling {
  /** 0 takes the most probable token; logits are divided by it else. */
  temperature: number;
  /** Only that many most probable tokens; 0 for all. */
  topK: number;
  /** The fewest tokens whose probabilities reach it; 1 for all. */
  topP: number;
  /** Tokens at least this share as probable as the most probable one; 0 for all. */
  minP: number;
  /** Above 1, tokens of the text so far become less probable. */
  repetitionPenalty: number;
  seed: number;
}

export const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** Draws the tokens of one text; `index` says which text of several. */
export class Sampler {
  private readonly random: RandomNumbers;
  private readonly sampling: Sampling;

  constructor(sampling: Sampling, index = 0) {
    this.sampling = sampling;
    this.random = new RandomNumbers(sampling.seed, index);
  }

  /** The next token from logits (V), after the tokens of `text`. */
  choose(logits: Float32Array, text: readonly number[]): number {
    const scores = new Float64Array(logits);
    if (!Number.isFinite(highestOf(scores))) throw new Failure("The model gives values that are no numbers.");
    const penalty = this.sampling.repetitionPenalty;
    if (penalty !== 1) {
      for (const token of new Set(text)) {
        const score = scores[token];
        if (score !== undefined) scores[token] = score > 0 ? score / penalty : score * penalty;
      }
    }
    if (this.sampling.temperature === 0) return highest(scores, 1)[0]!;
    const [kept, probabilities] = distribution(scores, this.sampling);
    const drawn = this.random.next();
    let sum = 0;
    for (let place = 0; place < kept.length; place++) {
      sum += probabilities[place]!;
      if (sum > drawn) return kept[place]!;
    }
    return kept.at(-1)!;
  }
}

/**
 * The tokens that may be drawn, most probable first, and their probabilities; from scores (V).
 * Temperature first, then top-k, top-p and min-p, each on what the one before left.
 */
function distribution(scores: Float64Array, sampling: Sampling): [number[], number[]] {
  let order = highest(scores, sampling.topK > 0 ? Math.min(sampling.topK, scores.length) : scores.length);
  let shares = normalized(order.map((token) => Math.exp((scores[token]! - scores[order[0]!]!) / sampling.temperature)));
  if (sampling.topP < 1) {
    let sum = 0;
    let count = 0;
    while (count < order.length && sum < sampling.topP) sum += shares[count++]!;
    [order, shares] = [order.slice(0, count), shares.slice(0, count)];
  }
  if (sampling.minP > 0) {
    const least = sampling.minP * shares[0]!;
    shares = shares.filter((share) => share >= least);
    order = order.slice(0, shares.length); // they fall
  }
  return [order, normalized(shares)];
}

function normalized(values: readonly number[]): number[] {
  const sum = values.reduce((a, b) => a + b, 0);
  return values.map((value) => value / sum);
}

/** The places of the `count` highest scores, highest first, earlier places first among equals. */
export function highest(scores: Float64Array, count: number): number[] {
  if (count * 4 > scores.length) {
    return Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, count);
  }
  const best: number[] = [];
  for (let place = 0, least = -Infinity; place < scores.length; place++) {
    const score = scores[place]!;
    if (best.length === count && score <= least) continue;
    if (best.length === count) best.pop();
    let low = best.length;
    while (low > 0 && score > scores[best[low - 1]!]!) low--;
    best.splice(low, 0, place);
    least = scores[best.at(-1)!]!;
  }
  return best;
}

/** NaN where one of them is. */
export function highestOf(scores: Float32Array | Float64Array): number {
  let most = -Infinity;
  for (let place = 0; place < scores.length; place++) {
    const score = scores[place]!;
    if (!(score <= most)) most = score; // holds for NaN too, which then stays
  }
  return most;
}

/** Probabilities of logits. */
export function softmax(logits: Float32Array): number[] {
  const most = highestOf(logits);
  return normalized(Array.from(logits, (logit) => Math.exp(logit - most)));
}
