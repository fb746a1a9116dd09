// Light, dark, or as the panel's system prefers; the choice stays on this panel.
import { signal } from "@preact/signals";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "plantedge-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const known = (text: string | null): Theme => THEMES.find((one) => one === text) ?? "auto";

export const theme = signal<Theme>(known(stored()));

function stored(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // a panel that keeps nothing
  }
}

export function apply(): void {
  const light = theme.value === "auto" ? !dark.matches : theme.value === "light";
  document.documentElement.dataset["theme"] = light ? "light" : "dark";
}

export function next(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? "auto";
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // then it holds until the page is loaded again
  }
  apply();
}

dark.addEventListener("change", apply);
apply();
