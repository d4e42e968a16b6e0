// The best classes of pictures by transformers.js: node classify.mjs FOLDER DTYPE TOP PICTURE...
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [folder, dtype, top, ...pictures] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));
const options = dtype === "default" ? {} : { dtype };
const classify = await pipeline("image-classification", basename(folder), options);
const found = [];
for (const picture of pictures) found.push(await classify(picture, { top_k: Number(top) }));
process.stdout.write(JSON.stringify(found));
