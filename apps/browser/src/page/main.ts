/** Opens what the app has models for: a tab for each. */

import { Failure } from "../core/failure.ts";
import { readContents, type Contents, type FileEntry, type Kind } from "../models/contents.ts";
import { tidy } from "../models/download.ts";
import { CaptionTab } from "./caption.ts";
import { DigitsTab } from "./digits.ts";
import { element, tell, told } from "./elements.ts";
import { Model } from "./model.ts";
import { WriteTab } from "./write.ts";

const KINDS: readonly Kind[] = ["caption", "digits", "write"];

async function start(): Promise<void> {
  register();
  const contents = await fetchContents();
  const kinds = KINDS.filter((kind) => contents[kind]);
  if (kinds.length === 0) throw new Failure("This app has no models: edgevision app browser --model RUN_OR_EXPORT");
  const models = {
    caption: new Model("caption", contents), digits: new Model("digits", contents), write: new Model("write", contents),
  };
  const camera = contents.caption && new CaptionTab(models.caption);
  if (contents.digits) new DigitsTab(models.digits, contents.digits);
  if (contents.write) new WriteTab(models.write);
  tabs(kinds, (kind) => {
    if (kind !== "caption") camera?.close();
    tell(null);
    models[kind].open().catch((error: unknown) => tell(told(error)));
  });
  const files = kinds.flatMap((kind) => Object.values<FileEntry>(contents[kind]!.files));
  void tidy(files, new URL("models/", document.baseURI).href);
  void navigator.storage?.persist?.();
}

async function fetchContents(): Promise<Contents> {
  const answer = await fetch("models/models.json", { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok) throw new Failure("models/models.json cannot be loaded: is the server still there? Reload the page.");
  return readContents(await answer.text());
}

/** Tabs as the ARIA practices want them: arrow keys go from one to the next. */
function tabs(kinds: readonly Kind[], opened: (kind: Kind) => void): void {
  const button = (kind: Kind) => element<HTMLButtonElement>(`tab-${kind}`);
  const select = (chosen: Kind) => {
    for (const kind of KINDS) {
      button(kind).setAttribute("aria-selected", String(kind === chosen));
      button(kind).tabIndex = kind === chosen ? 0 : -1;
      element(kind).hidden = kind !== chosen;
    }
    history.replaceState(null, "", `#${chosen}`);
    opened(chosen);
  };
  for (const kind of KINDS) {
    button(kind).hidden = !kinds.includes(kind);
    button(kind).onclick = () => select(kind);
    button(kind).onkeydown = ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = kinds[(kinds.indexOf(kind) + step + kinds.length) % kinds.length]!;
      button(next).focus();
      select(next);
    };
  }
  select(kinds.find((kind) => `#${kind}` === location.hash) ?? kinds[0]!);
}

/** The service worker keeps the page for when there is no net, and adds the headers that threads need. */
function register(): void {
  const { serviceWorker } = navigator;
  if (!import.meta.env.PROD || !serviceWorker) return;
  serviceWorker.register("sw.js").catch(() => {}); // without it the app works, but not offline
  if (self.crossOriginIsolated || serviceWorker.controller) return;
  serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
}

start().catch((error: unknown) => tell(told(error)));
