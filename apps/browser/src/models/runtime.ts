/** onnxruntime-web: WebGPU where there is one and the model gains by it, else WebAssembly with SIMD and threads. */

import type * as Ort from "onnxruntime-web";

import { Failure } from "../core/failure.ts";

export type Choice = "auto" | "webgpu" | "wasm";
const WORTH_A_GPU = 8e6; // bytes of a model; smaller ones spend their time on the way to the GPU and back

export interface Runtime {
  ort: typeof Ort;
  provider: "webgpu" | "wasm";
  /** For people. */
  name: string;
}

/**
 * @param base address of the page's folder, which has ort/.
 * @param bytes of the model. precision: "int8" stays on the processor, whose kernels it is made for.
 * @param most threads; without isolation (see service-worker.ts) browsers allow one.
 */
export async function openRuntime(
  base: string, choice: Choice, bytes: number, precision: string | undefined, most: number,
): Promise<Runtime> {
  const suits = bytes >= WORTH_A_GPU && precision !== "int8";
  const gpu = choice === "webgpu" || (choice === "auto" && suits) ? await adapter() : null;
  if (choice === "webgpu" && !gpu) throw new Failure("This browser has no WebGPU: open the page without runtime=webgpu.");
  const folder = new URL("ort/", base).href;
  const module = new URL(gpu ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs", folder).href;
  const ort = (await import(/* @vite-ignore */ module)) as typeof Ort;
  const threads = self.crossOriginIsolated ? most : 1;
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = folder;
  ort.env.wasm.numThreads = threads;
  const name = gpu ? "WebGPU" : `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return { ort, provider: gpu ? "webgpu" : "wasm", name };
}

async function adapter(): Promise<unknown> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  return (await gpu?.requestAdapter().catch(() => null)) ?? null;
}

/** @param name of the file, for messages. staysOnGpu: what is computed is left there until it is asked for. */
export async function openSession(
  runtime: Runtime, bytes: Uint8Array, name: string, staysOnGpu: boolean,
): Promise<Ort.InferenceSession> {
  const options: Ort.InferenceSession.SessionOptions = { executionProviders: [runtime.provider], logSeverityLevel: 3 };
  if (runtime.provider === "webgpu" && staysOnGpu) options.preferredOutputLocation = "gpu-buffer";
  try {
    return await runtime.ort.InferenceSession.create(bytes, options);
  } catch (error) {
    if (isMemory(error)) throw error;
    throw new Failure(`${name} cannot be loaded: ${String(error).replace(/^Error: /, "").split("\n")[0]!.slice(0, 160)}`);
  }
}

/** Whether an error says that memory was short. */
export function isMemory(error: unknown): boolean {
  return /memory|bad_alloc|allocation failed|Aborted\(\)/i.test(String(error));
}
