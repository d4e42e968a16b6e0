// Encoders of text by transformers.js: encode.mjs TASK FOLDER DTYPE TEXT... prints a JSON list of results.
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const OPTIONS = {
  "fill-mask": { top_k: 5 },
  "text-classification": { top_k: null },
  "feature-extraction": { pooling: "mean", normalize: true },
};
const [task, folder, dtype, ...texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const encode = await pipeline(task, basename(folder), dtype === "default" ? {} : { dtype });
const found = [];
for (const text of texts) {
  const result = await encode(text, OPTIONS[task]);
  found.push(task === "feature-extraction" ? Array.from(result.data) : result);
}
process.stdout.write(JSON.stringify(found));
