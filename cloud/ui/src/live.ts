// The fleet as the page knows it: one snapshot, then deltas. `rows` is one map that is changed in place; `tick` says
// that it changed, so that 5,000 rows cost nothing while a handful of them moves.
import { signal } from "@preact/signals";
import type { AlertView, Availability, DeviceRow, Snapshot, Totals } from "./api";
import { askSession, get, session } from "./client";

const SILENT_MS = 12_000; // the service says something every 5 s
const RECONNECT_MS = 3_000; // a restart of the service need not alarm anybody

export const rows = new Map<string, DeviceRow>();
export const alerts = signal<readonly AlertView[]>([]);
export const totals = signal<Totals | null>(null);
export const availability = signal<Availability | null>(null);
export const budgetBytes = signal(50_000_000);
export const staleAfterS = signal(30);
export const broker = signal(true);
export const tick = signal(0); // some row changed
export const members = signal(0); // a device came
export const now = signal(Date.now()); // the service's clock, once a second
export const lost = signal<number | null>(null); // since when there are no updates

let cursor = "";
let source: EventSource | null = null;
let heardAt = 0;
let silentFrom: number | null = null; // since when the browser tries to reconnect
let skewMs = 0;
let retry = 0;

export function take(snapshot: Snapshot): void {
  if (snapshot.full) rows.clear();
  const before = rows.size;
  for (const row of snapshot.rows) rows.set(row.node, row);
  if (snapshot.full || rows.size !== before) members.value++;
  if (snapshot.rows.length || snapshot.full) tick.value++;
  takeAlerts(snapshot);
  totals.value = snapshot.totals;
  availability.value = snapshot.availability;
  budgetBytes.value = snapshot.budget_bytes;
  staleAfterS.value = snapshot.stale_after_s;
  broker.value = snapshot.broker;
  cursor = snapshot.cursor;
  heardAt = performance.now();
  silentFrom = null;
  skewMs = snapshot.time_ms - Date.now();
  lost.value = null;
}

function takeAlerts(snapshot: Snapshot): void {
  if (!snapshot.full && snapshot.alerts.length === 0) return;
  const known = new Map(snapshot.full ? [] : alerts.value.map((alert) => [`${alert.node}/${alert.key}`, alert]));
  for (const alert of snapshot.alerts) {
    if (alert.state === "closed") known.delete(`${alert.node}/${alert.key}`);
    else known.set(`${alert.node}/${alert.key}`, alert);
  }
  alerts.value = [...known.values()].sort((a, b) => b.changed_ms - a.changed_ms);
}

export async function follow(): Promise<void> {
  try {
    take(await get<Snapshot>("/snapshot"));
    listen();
  } catch {
    later();
  }
}

function later(): void {
  lost.value ??= Date.now();
  setTimeout(() => void again(), Math.min(1000 * 2 ** retry++, 15_000));
}

function listen(): void {
  source?.close();
  source = new EventSource(`/api/v1/events?after=${encodeURIComponent(cursor)}`);
  source.onmessage = (event: MessageEvent<string>) => {
    retry = 0;
    take(JSON.parse(event.data) as Snapshot);
  };
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) later();
    else silentFrom ??= performance.now(); // the browser reconnects by itself, with Last-Event-ID
  };
}

async function again(): Promise<void> {
  await askSession();
  if (session.value === null) return; // the page for logging in is shown
  if (cursor) listen();
  else await follow();
}

export function unfollow(): void {
  source?.close();
  source = null;
}

setInterval(() => {
  now.value = Date.now() + skewMs;
  if (!source || lost.value !== null) return;
  const mute = performance.now() - heardAt;
  if (mute > SILENT_MS || (silentFrom !== null && performance.now() - silentFrom > RECONNECT_MS)) {
    lost.value = Date.now() - mute;
  }
}, 1000);
