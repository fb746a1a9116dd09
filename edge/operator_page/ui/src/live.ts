// What the device tells, as it comes; and how old it is when it does not come.
import { computed, signal } from "@preact/signals";
import type { Snapshot, StationView } from "./api";
import { askSession, session } from "./client";
import { deviceOffsetMs } from "./format";

const SILENT_MS = 3_000; // the device says something every 0.4 s
const QUIET_MS = 6_000; // nothing on the device's bus: its processes speak every 2 s

export const snapshot = signal<Snapshot | null>(null);
export const chosen = signal(new URLSearchParams(location.search).get("pipeline") ?? "");
export const now = signal(Date.now()); // the device's clock
export const silentFor = signal<number | null>(null); // milliseconds, while the device is not heard

export const station = computed<StationView | null>(() => {
  const all = snapshot.value?.stations ?? [];
  return all.find((one) => one.pipeline === chosen.value) ?? all[0] ?? null;
});
export const quietFor = computed(() => {
  const seen = snapshot.value;
  if (!seen || silentFor.value !== null) return null;
  const quiet = seen.time_ms - seen.heard_ms;
  return quiet > QUIET_MS ? quiet : null;
});

// In the address too, so that a panel that is loaded again shows what it showed.
export function choose(pipeline: string): void {
  chosen.value = pipeline;
  history.replaceState(null, "", `?pipeline=${encodeURIComponent(pipeline)}`);
}

let source: EventSource | null = null;
let heardAt = performance.now();
let skewMs = 0;

export function follow(): void {
  source?.close();
  heardAt = performance.now();
  source = new EventSource("/api/v1/events");
  source.onmessage = (event: MessageEvent<string>) => {
    const told = JSON.parse(event.data) as Snapshot;
    skewMs = told.time_ms - Date.now();
    heardAt = performance.now();
    now.value = told.time_ms;
    silentFor.value = null;
    deviceOffsetMs.value = told.utc_offset_ms;
    snapshot.value = told;
  };
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => void again(), 1000);
  };
}

async function again(): Promise<void> {
  await askSession();
  if (session.value) follow();
}

export function unfollow(): void {
  source?.close();
  source = null;
}

setInterval(() => {
  now.value = Date.now() + skewMs;
  if (!source) return;
  const mute = performance.now() - heardAt;
  if (mute > SILENT_MS) silentFor.value = mute;
  // A machine that fell asleep, or a cable that was pulled, leaves a connection that never ends.
  if (mute > 4 * SILENT_MS && source.readyState === EventSource.OPEN) follow();
}, 500);
