// Numbers and times as people read them. Every quantity is null-safe: what is not known is a dash.
const NONE = "–";
const whole = new Intl.NumberFormat("en");

export const count = (value: number): string => whole.format(value);
export const share = (value: number): string => `${Math.round(value * 100)} %`;
export const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
export const amount = (bytes: number): string =>
  bytes < 1e9 ? `${megabytes(bytes)} MB` : `${(bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 1)} GB`;

export function ms(value: number | null): string {
  if (value === null) return NONE;
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : whole.format(Math.round(value));
}

export function rate(value: number): string {
  return value < 10 ? value.toFixed(1) : whole.format(Math.round(value));
}

export const celsius = (value: number | null): string => (value === null ? NONE : `${Math.round(value)} °C`);

export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

export const ago = (timeMs: number, nowMs: number): string =>
  timeMs ? (nowMs - timeMs < 1500 ? "now" : `${span((nowMs - timeMs) / 1000)} ago`) : "never";

export const days = (timeMs: number, nowMs: number): number => Math.floor((timeMs - nowMs) / 86_400_000);
export const clock = (timeMs: number): string => new Date(timeMs).toLocaleTimeString("en-GB");
export const moment = (timeMs: number): string =>
  timeMs ? new Date(timeMs).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : NONE;

export function versions(of: Readonly<Record<string, string>>): string {
  return Object.entries(of)
    .map(([model, version]) => `${model} ${version}`)
    .join(", ");
}
