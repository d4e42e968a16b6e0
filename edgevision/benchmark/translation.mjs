// Translations by transformers.js, in turns with another program: FOLDER DTYPE THREADS TOKENS SENTENCE. A line in
// asks for a translation, a line of JSON out has its text and the milliseconds.
import { createInterface } from "node:readline";
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [folder, dtype, threads, tokens, sentence] = process.argv.slice(-5);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const options = { dtype, session_options: { intraOpNumThreads: Number(threads) } };
const translate = await pipeline("translation", basename(folder), options);
for await (const _ of createInterface({ input: process.stdin })) {
  const began = performance.now();
  const [{ translation_text: text }] = await translate(sentence, { max_new_tokens: Number(tokens) });
  process.stdout.write(JSON.stringify({ text, milliseconds: performance.now() - began }) + "\n");
}
