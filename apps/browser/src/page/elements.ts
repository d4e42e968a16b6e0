/** The element of index.html with an id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found as T;
}

/** One plain line above the tab, until the next try; null takes it away. */
export function tell(message: string | null): void {
  const line = element("message");
  line.textContent = message;
  line.hidden = message === null;
}

/** What a thrown thing says to people. */
export function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
