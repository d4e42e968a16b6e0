import { Failure } from "../core/failure.ts";
import { element, tell, told } from "./elements.ts";
import type { Model } from "./model.ts";

const SMALL = 400; // pixels; smaller pictures are shown larger, pixel by pixel

/** The tab that says what is on a picture: dropped, pasted, picked, or from the camera. */
export class CaptionTab {
  private readonly model: Model<"caption">;
  private stream: MediaStream | null = null;
  private newest = 0;

  constructor(model: Model<"caption">) {
    this.model = model;
    const [stage, file] = [element("stage"), element<HTMLInputElement>("file")];
    file.onchange = () => {
      if (file.files?.[0]) void this.show(file.files[0]);
      file.value = ""; // so that the same file can be picked again
    };
    document.addEventListener("paste", ({ clipboardData }) => {
      const pasted = clipboardData?.files[0];
      if (pasted && !element("caption").hidden) void this.show(pasted);
    });
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      stage.classList.add("over");
    });
    document.addEventListener("dragleave", () => stage.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      const dropped = event.dataTransfer?.files[0];
      if (dropped && !element("caption").hidden) void this.show(dropped);
    });
    element("camera").onclick = () => void (this.stream ? this.close() : this.open());
    element("beams").onchange = () => this.again?.();
    document.addEventListener("visibilitychange", () => document.hidden && this.close());
  }

  /** The camera goes off. */
  close(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    element("camera").setAttribute("aria-pressed", "false");
    element("video").hidden = true;
  }

  private again: (() => void) | null = null;

  private async show(file: File): Promise<void> {
    this.close();
    tell(null);
    this.again = () => void this.show(file);
    const picture = element<HTMLImageElement>("picture");
    URL.revokeObjectURL(picture.src);
    picture.hidden = true;
    picture.onload = () => {
      picture.hidden = element("hint").hidden = true;
      picture.hidden = false;
      picture.classList.toggle("small", picture.naturalWidth < SMALL);
    };
    picture.src = URL.createObjectURL(file);
    picture.alt = file.name;
    element("sentence").textContent = "";
    try {
      await this.caption(file, file.name || "The picture");
    } catch (error) {
      picture.hidden = true;
      element("hint").hidden = false;
      tell(told(error));
    }
  }

  /** Of several pictures in a row only the newest is shown. */
  private async caption(picture: File | ImageBitmap, name: string): Promise<void> {
    const mine = ++this.newest;
    const [sentence, facts] = [element("sentence"), element("caption-facts")];
    const beams = Number(element<HTMLSelectElement>("beams").value);
    facts.textContent = "Looking …";
    const given = picture instanceof ImageBitmap ? [picture] : [];
    const live = this.stream !== null;
    try {
      const found = await this.model.ask({ ask: "caption", picture, name, beams }, (text) => {
        if (mine === this.newest && !live) sentence.textContent = text;
      }, given);
      if (mine !== this.newest) return;
      sentence.textContent = found.text + (found.cut ? " …" : "");
      const { picture: looking, words } = found.milliseconds;
      facts.textContent = `${looking.toFixed(0)} ms for the picture, ${words.toFixed(0)} ms for the words`;
      facts.dataset.milliseconds = `${looking} ${words}`;
      element<HTMLImageElement>("picture").alt = found.text;
    } catch (error) {
      if (mine === this.newest) facts.textContent = "";
      throw error;
    }
  }

  private async open(): Promise<void> {
    tell(null);
    try {
      if (!navigator.mediaDevices) {
        throw new Failure("A browser opens the camera only for pages with HTTPS or on this machine (127.0.0.1).");
      }
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }).catch(refused);
    } catch (error) {
      return tell(told(error));
    }
    const stream = this.stream;
    const video = element<HTMLVideoElement>("video");
    video.srcObject = stream;
    video.hidden = false;
    element("picture").hidden = element("hint").hidden = true;
    element("camera").setAttribute("aria-pressed", "true");
    this.again = null;
    try {
      await video.play();
      while (this.stream === stream) {
        await this.caption(await createImageBitmap(video), "the camera");
        await new Promise(requestAnimationFrame);
      }
    } catch (error) {
      if (this.stream === stream) {
        this.close();
        tell(told(error));
      }
    }
  }
}

function refused(error: DOMException): never {
  const reasons: Record<string, string> = {
    NotAllowedError: "The camera was refused: allow it for this page in the browser's settings, or pick a picture.",
    NotFoundError: "There is no camera on this device: pick a picture.",
    NotReadableError: "Another program has the camera: close it, or pick a picture.",
  };
  throw new Failure(reasons[error.name] ?? `The camera cannot be opened: ${error.message}`);
}
