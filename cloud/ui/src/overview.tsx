// The fleet at a glance: states, availability, what leaves the sites, every device as a cell, what waits for a person.
import { AlertList } from "./alerts";
import type { Totals } from "./api";
import { amount, count, megabytes } from "./format";
import { Heatmap } from "./heatmap";
import { alerts, availability, budgetBytes, totals } from "./live";
import { devicesOf } from "./route";
import { STATES, Shape, WORD } from "./state";

const TARGET = 0.999;
const SHOWN = 6;

function Tiles({ of }: { of: Totals }) {
  return (
    <section class="tiles" aria-label="Devices by state">
      {STATES.map((state) => (
        <a key={state} class={`tile ${state} ${of[state] ? "some" : "none"}`} href={devicesOf(`state:${state}`)}>
          <span class="name">
            <Shape state={state} /> {WORD[state]}
          </span>
          <b>{count(of[state])}</b>
          <small>{of.devices ? `${((of[state] / of.devices) * 100).toFixed(of.devices > 999 ? 1 : 0)} %` : "–"}</small>
        </a>
      ))}
    </section>
  );
}

function Bar({ part, tone, label }: { part: number; tone: string; label: string }) {
  const width = `${Math.min(100, Math.max(0, part * 100))}%`;
  return (
    <div class="bar" role="img" aria-label={label}>
      <i class={tone} style={{ width }} />
    </div>
  );
}

function AvailabilityCard() {
  const { up_s, known_s } = availability.value ?? { up_s: 0, known_s: 0 };
  const value = known_s ? up_s / known_s : null;
  const spent = value === null ? 0 : (1 - value) / (1 - TARGET);
  const good = value === null || value >= TARGET;
  const shown = value === null ? "–" : `${(Math.floor(value * 100_000) / 1000).toFixed(3)} %`;
  const text =
    value === null
      ? "Nothing measured yet"
      : good
        ? `${Math.round(spent * 100)} % of today's allowance of 0.1 % is used`
        : `${((1 - value) * 100).toFixed(1)} % is lost, 0.1 % is allowed`;
  return (
    <section class="card metric">
      <h2>Availability today</h2>
      <p class="figure">
        <b>{shown}</b>
        <span class={good ? "verdict ok" : "verdict alarm"}>
          <Shape state={good ? "ok" : "alarm"} /> {good ? "meets" : "misses"} 99.9 %
        </span>
      </p>
      <Bar part={spent} tone={good ? "ok" : "alarm"} label={text} />
      <p class="muted">{text}. Share of device time in OK or Degraded, since 00:00 UTC.</p>
    </section>
  );
}

function UpstreamCard({ of }: { of: Totals }) {
  const reporting = of.devices - of.offline;
  const mean = reporting ? of.upstream_bytes / reporting : 0;
  const budget = budgetBytes.value;
  const over = of.over_budget;
  return (
    <section class="card metric">
      <h2>Upstream today</h2>
      <p class="figure">
        <b>{megabytes(mean)} MB</b>
        <span class={over ? "verdict alarm" : "verdict ok"}>
          <Shape state={over ? "alarm" : "ok"} />{" "}
          {over ? <a href={devicesOf(`mb>${budget / 1e6}`)}>{count(over)} over budget</a> : "all within budget"}
        </span>
      </p>
      <Bar part={mean / budget} tone={over ? "alarm" : "ok"} label={`${megabytes(mean)} of ${budget / 1e6} MB`} />
      <p class="muted">
        Mean of a device, of {budget / 1e6} MB a day. {amount(of.upstream_bytes)} in all; metadata only,{" "}
        {count(of.refused)} messages refused.
      </p>
    </section>
  );
}

function AlertCard() {
  const open = alerts.value.filter((alert) => alert.state !== "active_acked");
  return (
    <section class="card waiting-alerts">
      <h2>
        Waiting for a person <span class="muted">{count(open.length)}</span>
      </h2>
      {open.length ? <AlertList of={open.slice(0, SHOWN)} /> : <p class="empty">No unacknowledged alerts.</p>}
      {open.length > SHOWN && <a href="/alerts">All {count(open.length)} alerts</a>}
    </section>
  );
}

export function Overview() {
  const of = totals.value;
  if (!of) return null;
  return (
    <main>
      <h1 class="visually-hidden">Overview</h1>
      <Tiles of={of} />
      <div class="columns even">
        <AvailabilityCard />
        <UpstreamCard of={of} />
      </div>
      <div class="columns wide-left">
        <section class="card">
          <h2>
            All devices <span class="muted">{count(of.devices)}</span>
          </h2>
          {of.devices ? <Heatmap /> : <Empty />}
        </section>
        <AlertCard />
      </div>
    </main>
  );
}

function Empty() {
  return (
    <div class="empty">
      <p>No device has reported yet.</p>
      <p class="muted">
        Sign a device's request with <code>plantedge-fleet enroll</code>, put host and port of this fleet under{" "}
        <code>[uplink]</code> in its <code>device.toml</code>, and it appears here with its first health message.
      </p>
    </div>
  );
}
