// Captions of pictures by transformers.js: caption.mjs FOLDER DTYPE PICTURE... prints a JSON list of texts.
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [folder, dtype, ...pictures] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const caption = await pipeline("image-to-text", basename(folder), dtype === "default" ? {} : { dtype });
const texts = [];
for (const picture of pictures) {
  texts.push((await caption(resolve(picture)))[0].generated_text);
}
process.stdout.write(JSON.stringify(texts));
