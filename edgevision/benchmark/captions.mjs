// Captions by transformers.js, in turns with another program: FOLDER DTYPE THREADS PICTURE. A line in asks for
// a sentence, a line of JSON out has its text and the milliseconds.
import { createInterface } from "node:readline";
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [folder, dtype, threads, picture] = process.argv.slice(-4);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const options = { dtype, session_options: { intraOpNumThreads: Number(threads) } };
const caption = await pipeline("image-to-text", basename(folder), options);
for await (const _ of createInterface({ input: process.stdin })) {
  const began = performance.now();
  const [{ generated_text: text }] = await caption(picture);
  process.stdout.write(JSON.stringify({ text, milliseconds: performance.now() - began }) + "\n");
}
