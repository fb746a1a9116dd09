// The grid's columns: what each shows, by what it sorts, how wide it is.
import type { ComponentChildren } from "preact";
import type { DeviceRow } from "./api";
import { ago, celsius, count, days, megabytes, moment, ms, rate, share, versions } from "./format";
import { SEVERITY, StateWord } from "./state";

export interface Column {
  readonly key: string;
  readonly name: string;
  readonly width: number;
  readonly number?: boolean;
  readonly title?: string;
  readonly value: (row: DeviceRow) => string | number;
  readonly show: (row: DeviceRow, now: number) => ComponentChildren;
}

const none = <span class="none">–</span>;
const worst = Number.NEGATIVE_INFINITY;

function text(key: string, name: string, width: number, value: (row: DeviceRow) => string): Column {
  const show = (row: DeviceRow) => {
    const found = value(row);
    return found ? <span title={found}>{found}</span> : none;
  };
  return { key, name, width, value, show };
}

function figure(
  key: string,
  name: string,
  width: number,
  value: (row: DeviceRow) => number | null,
  show: (row: DeviceRow) => ComponentChildren,
  title = "",
): Column {
  return { key, name, width, number: true, title, value: (row) => value(row) ?? worst, show };
}

function seen(row: DeviceRow, now: number): ComponentChildren {
  return (
    <span class={row.state === "offline" ? "old" : undefined} title={moment(row.seen_ms)}>
      {ago(row.seen_ms, now)}
    </span>
  );
}

function certificate(row: DeviceRow, now: number): ComponentChildren {
  if (!row.certificate_ms) return none;
  const left = days(row.certificate_ms, now);
  const tone = left < 0 ? "alarm" : left < 14 ? "degraded" : "";
  return (
    <span class={tone ? `word ${tone}` : undefined} title={moment(row.certificate_ms)}>
      {left < 0 ? "expired" : `${left} d`}
    </span>
  );
}

export const COLUMNS: readonly Column[] = [
  {
    key: "id",
    name: "Device",
    width: 168,
    value: (row) => row.node,
    show: (row) => <b title={row.node}>{row.node}</b>,
  },
  {
    key: "state",
    name: "State",
    width: 124,
    value: (row) => SEVERITY.indexOf(row.state),
    show: (row) => <StateWord state={row.state} />,
  },
  text("reason", "Reason", 230, (row) => row.reason),
  text("site", "Site", 110, (row) => row.site),
  text("line", "Line", 110, (row) => row.line),
  figure("p50", "p50 ms", 76, (row) => row.p50_ms, (row) => ms(row.p50_ms), "Of the slowest pipeline, last 10 s"),
  figure("p99", "p99 ms", 76, (row) => row.p99_ms, (row) => ms(row.p99_ms), "Of the slowest pipeline, last 10 s"),
  figure("misses", "Misses", 76, (row) => row.misses, (row) => count(row.misses), "Late or dropped, last 10 s"),
  figure("rate", "Rate /s", 76, (row) => row.rate_hz, (row) => rate(row.rate_hz), "Results per second, all pipelines"),
  { key: "seen", name: "Last seen", width: 100, number: true, value: (row) => -row.seen_ms, show: seen },
  text("software", "Software", 92, (row) => row.software),
  text("model", "Models", 210, (row) => versions(row.versions)),
  text("hardware", "Hardware", 120, (row) => row.hardware),
  figure("queue", "Queue", 72, (row) => row.queue, (row) => count(row.queue), "Messages waiting to be sent upstream"),
  figure("cpu", "CPU", 66, (row) => row.cpu, (row) => share(row.cpu)),
  figure("memory", "RAM", 66, (row) => row.memory, (row) => share(row.memory)),
  figure("temperature", "Temp.", 72, (row) => row.temperature_c, (row) => celsius(row.temperature_c)),
  {
    key: "certificate",
    name: "Certificate",
    width: 98,
    number: true,
    title: "Days until the device's certificate ends",
    value: (row) => row.certificate_ms,
    show: certificate,
  },
  figure("mb", "MB today", 86, (row) => row.upstream_bytes, (row) => megabytes(row.upstream_bytes), "Of 50 MB a day"),
];
