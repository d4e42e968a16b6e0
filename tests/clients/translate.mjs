// Translations by transformers.js: translate.mjs FOLDER DTYPE TOKENS SENTENCE... prints a JSON list of texts.
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [folder, dtype, limit, ...sentences] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const translate = await pipeline("translation", basename(folder), dtype === "default" ? {} : { dtype });
const texts = [];
for (const sentence of sentences) {
  texts.push((await translate(sentence, { max_new_tokens: Number(limit) }))[0].translation_text);
}
process.stdout.write(JSON.stringify(texts));
