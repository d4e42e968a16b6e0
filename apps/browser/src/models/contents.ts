import { Failure } from "../core/failure.ts";

export type Kind = "digits" | "caption" | "write";

/** A file beside models.json; bytes and SHA-256 (hexadecimal) of what it holds. */
export interface FileEntry {
  url: string;
  bytes: number;
  sha256: string;
}

interface Model<Role extends string> {
  name?: string;
  precision?: string;
  files: Record<Role, FileEntry>;
}

/** models.json, which `edgevision app browser` writes: what the files are for; a kind without a model is missing. */
export interface Contents {
  format: 1;
  /** A classifier of grey digits of side x side pixels. */
  digits?: Model<"model"> & { labels: string[]; side: number };
  /** limit: tokens of a sentence, its end included; side: pixels of a picture. */
  caption?: Model<"encoder" | "decoder" | "tokenizer"> & { start: number; end: number; limit: number; side: number };
  /** context: the most tokens of prompt and text together. */
  write?: Model<"model" | "tokenizer"> & { ends: number[]; context: number };
}

/** Checked as far as the app depends on it. */
export function readContents(json: string): Contents {
  let file: Contents;
  try {
    file = JSON.parse(json) as Contents;
  } catch {
    throw new Failure("models.json is damaged: build the app again.");
  }
  if (file?.format !== 1) throw new Failure("The models are from another version of edgevision: build the app again.");
  for (const kind of ["digits", "caption", "write"] as const) {
    for (const { url, bytes, sha256 } of Object.values<FileEntry>(file[kind]?.files ?? {})) {
      const fits = typeof url === "string" && bytes > 0 && /^[0-9a-f]{64}$/.test(sha256) && !/^\/|\.\.|:/.test(url);
      if (!fits) throw new Failure("models.json is damaged: build the app again.");
    }
  }
  return file;
}
