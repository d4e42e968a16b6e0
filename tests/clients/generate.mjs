// Text of a language model by transformers.js, greedily: node generate.mjs FOLDER DTYPE COUNT PROMPT...
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [folder, dtype, count, ...prompts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const write = await pipeline("text-generation", basename(folder), dtype === "default" ? {} : { dtype });
const options = { max_new_tokens: Number(count), do_sample: false, return_full_text: false };
const found = await write(prompts.length > 1 ? prompts : prompts[0], options);
const texts = prompts.length > 1 ? found.map((one) => one[0].generated_text) : [found[0].generated_text];
process.stdout.write(JSON.stringify(texts));
