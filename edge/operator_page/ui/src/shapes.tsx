// A state is a shape, a word and a colour, so that it is read without any one of them.
import type { LineState, LinkState, PartView } from "./api";

export type Tone = "ok" | "calm" | "warn" | "bad";

export const LINE: Readonly<Record<LineState, { word: string; tone: Tone }>> = {
  running: { word: "Running", tone: "ok" },
  stopped: { word: "Stopped", tone: "calm" },
  manual: { word: "Manual", tone: "warn" },
  failsafe: { word: "Fail-safe", tone: "bad" },
};

export const LINK: Readonly<Record<LinkState, { word: string; tone: Tone }>> = {
  up: { word: "Connected", tone: "ok" },
  lost: { word: "Lost", tone: "bad" },
  unknown: { word: "Unknown", tone: "warn" },
  none: { word: "None", tone: "calm" },
};

const PATHS: Readonly<Record<Tone, string>> = {
  ok: "M12 1a11 11 0 1 1 0 22 11 11 0 0 1 0-22Zm-2.5 6v10l8-5Z",
  calm: "M12 1a11 11 0 1 1 0 22 11 11 0 0 1 0-22ZM8 8v8h8V8Z",
  warn: "M12 1.5 23.5 22H.5ZM11 9v6h2V9Zm0 8v2.4h2V17Z",
  bad: "M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4ZM11 6v8h2V6Zm0 10v2.5h2V16Z",
};

const JOINED = "M12 1a11 11 0 1 1 0 22 11 11 0 0 1 0-22Zm-2 12.6-3-3-1.8 1.8L10 17.2l8.8-8.8L17 6.6Z";
const APART = "M12 1a11 11 0 1 1 0 22 11 11 0 0 1 0-22ZM6 10.7v2.6h12v-2.6Z";

export function Shape({ tone, link = false }: { tone: Tone; link?: boolean }) {
  const path = link && tone === "ok" ? JOINED : link && tone === "calm" ? APART : PATHS[tone];
  return (
    <svg class={`shape ${tone}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={path} fill-rule="evenodd" />
    </svg>
  );
}

const KINDS = {
  good: { word: "Good", path: "M9.2 17.3 3.9 12l1.7-1.7 3.6 3.6 9.2-9.2L20 6.4Z" },
  reject: { word: "Reject", path: "m6 4.3 6 6 6-6L19.7 6l-6 6 6 6-1.7 1.7-6-6-6 6L4.3 18l6-6-6-6Z" },
  unknown: {
    word: "Unknown",
    path: "M11 16.5h2.4V19H11Zm1.2-12c2.6 0 4.4 1.6 4.4 3.9 0 1.7-.9 2.6-2 3.4-1 .7-1.3 1.1-1.3 2.2H11c0-2.1.8-2.9 1.9-3.7.9-.6 1.3-1 1.3-1.9 0-1-.8-1.7-2-1.7-1.3 0-2.1.8-2.2 2.1H7.6c.1-2.6 1.9-4.3 4.6-4.3Z",
  },
} as const;

export const kindWord = (kind: PartView["kind"]): string => KINDS[kind].word;

export function KindMark({ kind }: { kind: PartView["kind"] }) {
  return (
    <svg class={`mark ${kind}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={KINDS[kind].path} />
    </svg>
  );
}

export const REALLY = { bad: "Really bad", good: "Was good", unsure: "Can't tell" } as const;
