import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** What runs models: the small build, and the one with WebGPU. They are loaded when they are needed. */
const RUNTIME = [
  "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
];
const PUBLIC = ["manifest.webmanifest", "icon.svg", "icon-192.png", "icon-512.png"];

/** For hosts whose headers nobody sets; `edgevision app browser` sends the same and more. */
const POLICY = [
  "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "img-src 'self' blob: data:",
  "media-src 'self' blob:", "connect-src 'self'", "worker-src 'self'", "manifest-src 'self'", "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const runtimeFolder = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));

function site(): Plugin {
  let out = "";
  return {
    name: "edgevision-site",
    apply: "build",
    configResolved(config) {
      out = config.build.outDir;
    },
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
    ],
    /** The list of files, and a version that changes with any of them. */
    generateBundle(_, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") throw new Error("the service worker was not built");
      const names = Object.keys(bundle).filter((name) => name !== "sw.js" && name !== "index.html").sort();
      const hash = createHash("sha256").update(names.join());
      for (const name of ["index.html", ...PUBLIC.map((file) => join("public", file))]) hash.update(readFileSync(name));
      const files = JSON.stringify(["./", ...PUBLIC, ...names]);
      worker.code = worker.code
        .replace("__VERSION__", hash.digest("hex").slice(0, 12))
        .replace("__RUNTIME__", JSON.parse(readFileSync(join(runtimeFolder, "..", "package.json"), "utf8")).version)
        .replace("__FILES__", () => files.replaceAll('"', '\\"'));
    },
    writeBundle() {
      mkdirSync(join(out, "ort"), { recursive: true });
      for (const name of RUNTIME) copyFileSync(join(runtimeFolder, name), join(out, "ort", name));
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [site()],
  worker: { format: "es" },
  build: {
    target: "es2024",
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { main: "index.html", sw: "src/service-worker.ts" },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
