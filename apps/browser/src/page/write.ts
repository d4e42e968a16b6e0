import { element, tell, told } from "./elements.ts";
import type { Model } from "./model.ts";

const ENDS = { end: "the model ended the text", length: "", context: "the text is as long as the model can hold" };

/** The tab in which the model goes on with a text. */
export class WriteTab {
  private readonly model: Model<"write">;

  constructor(model: Model<"write">) {
    this.model = model;
    const form = element<HTMLFormElement>("form");
    form.onsubmit = (event) => {
      event.preventDefault();
      void this.write();
    };
    element<HTMLTextAreaElement>("prompt").onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    };
    element("stop").onclick = () => model.stop();
  }

  private async write(): Promise<void> {
    const value = (id: string) => Number(element<HTMLInputElement>(id).value);
    const prompt = element<HTMLTextAreaElement>("prompt").value;
    const [go, stop] = [element<HTMLButtonElement>("go"), element<HTMLButtonElement>("stop")];
    const [text, facts] = [element("text"), element("write-facts")];
    const begun = document.createElement("b");
    const rest = document.createTextNode("");
    begun.textContent = prompt;
    text.replaceChildren(begun, rest);
    tell(null);
    [go.disabled, stop.disabled, facts.textContent] = [true, false, "Reading the prompt …"];
    text.setAttribute("aria-busy", "true"); // a screen reader waits for the whole
    try {
      const found = await this.model.ask({
        ask: "write", prompt, limit: value("limit"), sampling: {
          temperature: value("temperature"), topK: value("top-k"), topP: value("top-p"), minP: 0,
          repetitionPenalty: 1, seed: value("seed"),
        },
      }, (now, speed) => {
        rest.data = now;
        facts.textContent = speed > 0 ? `${speed.toFixed(0)} tokens per second` : "";
      });
      rest.data = found.text;
      const speed = found.tokensPerSecond > 0 ? `${found.tokensPerSecond.toFixed(0)} tokens per second` : "";
      facts.textContent = [`${found.tokens} tokens`, speed, ENDS[found.stop]].filter(Boolean).join(" · ");
    } catch (error) {
      facts.textContent = "";
      tell(told(error));
    } finally {
      [go.disabled, stop.disabled] = [false, true];
      text.removeAttribute("aria-busy");
    }
  }
}
