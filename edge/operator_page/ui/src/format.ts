// Numbers and times as people read them. What is not known is a dash.
import { signal } from "@preact/signals";
import type { Estimate } from "./api";

export const NONE = "–";
const whole = new Intl.NumberFormat("en");

export const count = (value: number): string => whole.format(value);

export function share(value: number | null): string {
  if (value === null) return NONE;
  const percent = value * 100;
  return `${percent !== 0 && percent < 9.95 ? percent.toFixed(1) : Math.round(percent)} %`;
}

export function interval(found: Estimate): string {
  if (found.low === null || found.high === null) return "";
  const digits = found.high < 0.0995 ? 1 : 0;
  return `${(found.low * 100).toFixed(digits)}–${(found.high * 100).toFixed(digits)} %`;
}

export function ms(value: number | null): string {
  if (value === null) return NONE;
  return value < 10 ? value.toFixed(1) : whole.format(Math.round(value));
}

export const rate = (value: number): string => (value < 10 ? value.toFixed(1) : whole.format(Math.round(value)));

export function span(millis: number): string {
  const s = Math.max(0, Math.round(millis / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

// Shifts are the device's, so times of day are, too: a panel may be set to another zone, or to none.
export const deviceOffsetMs = signal(0);
export const clock = (timeMs: number): string => new Date(timeMs + deviceOffsetMs.value).toISOString().slice(11, 19);
export const hour = (timeMs: number): string => clock(timeMs).slice(0, 5);
export const title = (name: string): string => name.replaceAll("_", " ");
export const pictureOf = (id: string): string => `/api/v1/pictures/${encodeURIComponent(id)}`;
