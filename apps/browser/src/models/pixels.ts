/** Pictures of any kind in a worker, upright, on white where they are clear, without conversion of colours. */

import { Failure } from "../core/failure.ts";
import { Picture } from "../core/picture.ts";
import { claimedSize, decodePng } from "../core/png.ts";

const PIXELS_MAX = 1 << 27; // as in Python: about 134 million

/** @param name of the file, for messages. */
export async function readPicture(file: Blob, name: string): Promise<Picture> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const claimed = claimedSize(bytes);
  if (claimed && claimed.width * claimed.height > PIXELS_MAX) {
    throw new Failure(`${name} claims ${claimed.width} x ${claimed.height} pixels: make it smaller first.`);
  }
  const exact = await decodePng(bytes);
  if (exact) return exact.opaque();
  let bitmap: ImageBitmap;
  try {
    const options: ImageBitmapOptions = { colorSpaceConversion: "none", imageOrientation: "from-image", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(file, options);
  } catch {
    throw new Failure(`${name} is not a picture that this browser can read, or it is damaged.`);
  }
  return fromBitmap(bitmap);
}

/** Takes the bitmap away. */
export function fromBitmap(bitmap: ImageBitmap): Picture {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Failure(`A picture of ${width} x ${height} pixels is too large for this browser.`);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return new Picture(width, height, 4, new Uint8Array(data.buffer)).opaque();
}
