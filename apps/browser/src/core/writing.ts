import { Failure } from "./failure.ts";
import { Sampler, type Sampling } from "./sampling.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One text in work: tokens in, logits (V) of the next out, the cache kept inside. */
export interface Engine {
  next(tokens: readonly number[]): Promise<Float32Array>;
}

/** Why a text ended: the model's end token, as many tokens as asked for, or as many as it can hold. */
export type Stop = "end" | "length" | "context";

/**
 * Goes on with a text, token by token.
 *
 * @param ends tokens that end a text. context: the most tokens. limit: tokens to write.
 * @param show is given the whole text so far and says whether to go on.
 * @returns the text without the prompt, its tokens, and why it ended.
 */
export async function write(
  prompt: string, engine: Engine, tokenizer: Tokenizer, { ends, context }: { ends: number[]; context: number },
  sampling: Sampling, limit: number, show: (text: string, tokens: number) => boolean | Promise<boolean>,
): Promise<{ text: string; tokens: number[]; stop: Stop }> {
  const begun = tokenizer.encode(prompt);
  const tokens = begun.length > 0 ? begun : ends.slice(0, 1); // the end stands before the beginning too
  if (tokens.length === 0) throw new Failure("The prompt is empty: give the model some words to begin with.");
  if (tokens.length >= context) {
    throw new Failure(`The prompt has ${tokens.length} tokens, the model takes ${context - 1}: shorten it.`);
  }
  const sampler = new Sampler(sampling);
  const written: number[] = [];
  let text = "";
  let logits = await engine.next(tokens);
  for (;;) {
    const token = sampler.choose(logits, [...tokens, ...written]);
    if (ends.includes(token)) return { text, tokens: written, stop: "end" };
    if (token >= tokenizer.size) {
      throw new Failure(`The model wrote token ${token}, the tokenizer has ${tokenizer.size}.`);
    }
    written.push(token);
    text = tokenizer.decode(written);
    const half = text.endsWith("\ufffd"); // of a character: held back
    if ((!half && !(await show(text, written.length))) || written.length === limit) {
      return { text, tokens: written, stop: "length" };
    }
    if (tokens.length + written.length >= context) return { text, tokens: written, stop: "context" };
    logits = await engine.next([token]);
  }
}
