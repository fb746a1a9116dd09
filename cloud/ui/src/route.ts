// The URL is the state: the page, the filter, the order. Links are real links.
import { computed, signal } from "@preact/signals";

interface Place {
  readonly path: string;
  readonly query: URLSearchParams;
}

const read = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) });
export const place = signal<Place>(read());
export const filter = computed(() => place.value.query.get("q") ?? "");
export const order = computed(() => place.value.query.get("sort") ?? "state");

export function go(href: string, replace = false): void {
  if (replace) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  place.value = read();
}

export function change(name: string, value: string): void {
  const query = new URLSearchParams(location.search);
  if (value) query.set(name, value);
  else query.delete(name);
  const text = query.toString().replaceAll("%3A", ":").replaceAll("%3E", ">");
  go(location.pathname + (text ? `?${text}` : ""), true);
}

export const devicesOf = (query: string): string => `/devices?q=${encodeURIComponent(query).replaceAll("%3A", ":")}`;
export const deviceOf = (node: string): string => `/devices/${encodeURIComponent(node)}`;

addEventListener("popstate", () => {
  place.value = read();
});

document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest?.("a[href^='/']");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.defaultPrevented;
  if (!link || !plain) return;
  event.preventDefault();
  go(link.getAttribute("href") ?? "/");
  scrollTo(0, 0);
});
