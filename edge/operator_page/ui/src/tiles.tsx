// The tiles: each says one thing in big type, and explains itself when it is tapped.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Snapshot, StationView } from "./api";
import { Chart } from "./chart";
import { Explained, type Topic } from "./explain";
import { count, interval, ms, NONE, rate, share, span } from "./format";
import { now } from "./live";
import { LINE, LINK, Shape, type Tone } from "./shapes";

const TREND = { rising: "rising", falling: "falling", steady: "steady" } as const;
const ARROW = { rising: "M12 4 20 14H4Z", falling: "M12 20 4 10h16Z", steady: "M3 10h18v4H3Z" } as const;

interface TileProps {
  name: string;
  area: string;
  tone?: Tone | undefined;
  also?: string;
  onOpen: () => void;
  children: ComponentChildren;
}

function Tile({ name, area, tone, also, onOpen, children }: TileProps) {
  return (
    <button class={`tile ${area} ${tone ?? ""}`} aria-haspopup="dialog" onClick={onOpen}>
      <span class="name">
        {name}
        {also && <span class="also">{also}</span>}
      </span>
      {children}
    </button>
  );
}

export function Tiles({ station, seen }: { station: StationView; seen: Snapshot }) {
  const [topic, setTopic] = useState<Topic | null>(null);
  const open = (chosen: Topic) => () => setTopic(chosen);
  const { line, oee, latency, reject_share: rejects, trend } = station;
  const state = LINE[line.state];
  const link = LINK[line.link.state];
  const slow = latency.p99_ms !== null && latency.p99_ms > latency.deadline_ms;
  return (
    <section class="tiles" aria-label="Figures of this shift">
      <Tile name="Line" area="state" tone={state.tone} also={alarms(seen.alarms.length)} onOpen={open("line")}>
        <span class="headline">
          <Shape tone={state.tone} />
          <strong>{state.word}</strong>
        </span>
        <span class="under why">{`for ${span(seen.time_ms - line.since_ms)}${line.why && `: ${line.why}`}`}</span>
      </Tile>
      <Tile name="Reject rate" area="rejects" onOpen={open("rejects")}>
        <span class="headline">
          <strong>{share(rejects.value)}</strong>
          <span class="beside">
            {interval(rejects) && <span>95 %: {interval(rejects)}</span>}
            {trend && (
              <span class={`trend ${trend}`}>
                <svg viewBox="0 0 24 24" aria-hidden="true">
                  <path d={ARROW[trend]} />
                </svg>
                {TREND[trend]}
              </span>
            )}
          </span>
        </span>
        <Chart minutes={station.minutes} now={now.value} />
      </Tile>
      <Tile name="Parts / min" area="speed" onOpen={open("speed")}>
        <strong>{rate(station.per_minute)}</strong>
        <span class="under">{oee.ideal_per_min ? `ideal ${rate(oee.ideal_per_min)}` : "last minute"}</span>
      </Tile>
      <Tile name="This shift" area="counts" onOpen={open("counts")}>
        <span class="three">
          <span class="good">
            <strong>{count(station.good)}</strong> good
          </span>
          <span class="reject">
            <strong>{count(station.reject)}</strong> rejects
          </span>
          <span class="unknown">
            <strong>{count(station.unknown)}</strong> unknown
          </span>
        </span>
      </Tile>
      <Tile name="OEE-like" area="oee" onOpen={open("oee")}>
        <strong>{oee.oee === null ? share(oee.availability) : share(oee.oee)}</strong>
        <span class="under">
          {oee.oee === null ? "availability" : `A${short(oee.availability)} P${short(oee.performance)} Q${short(oee.quality)}`}
        </span>
      </Tile>
      <Tile name="Response" area="latency" tone={slow ? "bad" : undefined} onOpen={open("latency")}>
        <strong class="measured">
          {ms(latency.p99_ms)}
          {latency.p99_ms !== null && <small> ms</small>}
        </strong>
        <span class="under">{`${slow ? "over" : "of"} ${ms(latency.deadline_ms)} ms`}</span>
      </Tile>
      <Tile name="PLC link" area="link" tone={link.tone === "ok" || link.tone === "calm" ? undefined : link.tone} onOpen={open("link")}>
        <span class="headline">
          <Shape tone={link.tone} link />
        </span>
        <span class="under">{link.word}</span>
      </Tile>
      {topic && <Explained topic={topic} station={station} seen={seen} onClose={() => setTopic(null)} />}
    </section>
  );
}

const alarms = (many: number): string => (many === 0 ? "" : many === 1 ? "1 alarm" : `${many} alarms`);
const short = (value: number | null): string => (value === null ? NONE : String(Math.round(value * 100)));
