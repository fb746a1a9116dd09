// What a tile's number means, with the figures behind it.
import type { ComponentChildren } from "preact";
import type { Snapshot, StationView } from "./api";
import { Dialog } from "./dialog";
import { clock, count, hour, interval, ms, rate, share, span } from "./format";
import { now } from "./live";
import { LINE, LINK } from "./shapes";

export type Topic = "line" | "rejects" | "speed" | "counts" | "oee" | "latency" | "link";

const TITLES: Readonly<Record<Topic, string>> = {
  line: "What the line does",
  rejects: "Reject rate",
  speed: "Parts per minute",
  counts: "Parts of this shift",
  oee: "OEE-like figures",
  latency: "Response time",
  link: "PLC link",
};

interface Props {
  topic: Topic;
  station: StationView;
  seen: Snapshot;
  onClose: () => void;
}

export function Explained({ topic, station, seen, onClose }: Props) {
  return (
    <Dialog title={TITLES[topic]} onClose={onClose}>
      <div class="explained">{TEXTS[topic](station, seen)}</div>
    </Dialog>
  );
}

function Facts({ of }: { of: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const performance = (oee: StationView["oee"]): string =>
  oee.performance === null && oee.ideal_per_min === 0 ? "no ideal rate is set (hmi.ideal_per_min)" : share(oee.performance);

const TEXTS: Readonly<Record<Topic, (station: StationView, seen: Snapshot) => ComponentChildren>> = {
  line: ({ line }, seen) => (
    <>
      <Facts of={[["Now", LINE[line.state].word], ["Since", clock(line.since_ms)], ["Why", line.why || "parts pass and get their verdict"]]} />
      <p>
        <b>Running:</b> parts pass. <b>Stopped:</b> no part has come for a while. <b>Fail-safe:</b> the outputs to the PLC
        are latched at their safe value, so every part is treated as bad until the PLC re-arms. <b>Manual:</b> somebody has
        taken the outputs; verdicts are shown but not written.
      </p>
      {seen.alarms.length > 0 && (
        <>
          <h3>Alarms that have not ended</h3>
          <ul class="alarms">
            {seen.alarms.map((alarm) => (
              <li key={alarm.key}>
                <time>{clock(alarm.since_ms)}</time> {alarm.text}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  ),
  rejects: (station) => (
    <>
      <Facts
        of={[
          ["This shift", `${count(station.reject_share.counted)} of ${count(station.reject_share.of)} parts`],
          ["Rate", share(station.reject_share.value)],
          ["95 % interval", interval(station.reject_share) || "–"],
        ]}
      />
      <p>
        The interval says where the true rate lies, given how many parts have passed (Wilson). The bars are the last hour,
        one per minute. <b>Rising</b> or <b>falling</b> is said only when the last 15 minutes differ from the rest of the
        hour by more than chance.
      </p>
    </>
  ),
  speed: (station) => (
    <>
      <Facts
        of={[
          ["Last minute", `${rate(station.per_minute)} parts`],
          ["Ideal", station.oee.ideal_per_min ? `${rate(station.oee.ideal_per_min)} per minute` : "not set (hmi.ideal_per_min)"],
        ]}
      />
      <p>Every result counts, whatever its verdict.</p>
    </>
  ),
  counts: (station, seen) => (
    <>
      <Facts
        of={[
          ["Shift", `${hour(seen.shift_begin_ms)} to ${hour(seen.shift_end_ms)}`],
          ["Good", count(station.good)],
          ["Rejects", count(station.reject)],
          ["Unknown", count(station.unknown)],
          ["Of these too late", count(station.late)],
          ["Not counted", count(station.missed)],
        ]}
      />
      <p>
        <b>Unknown</b> parts got no verdict in time, so the outputs treated them as bad. <b>Not counted</b> are results that
        passed while this page's process was away; the historian has them.
      </p>
    </>
  ),
  oee: ({ oee }) => (
    <>
      <Facts
        of={[
          ["Availability", `${share(oee.availability)}: ran ${span(oee.ran_s * 1000)} of ${span(oee.watched_s * 1000)}`],
          ["Performance", performance(oee)],
          ["Quality", share(oee.quality)],
          ["All three", share(oee.oee)],
          ["Not watched", span(oee.unwatched_s * 1000)],
        ]}
      />
      <p>
        <b>Availability</b> is running time over watched time; planned breaks are not known here, so they count as
        standstill. <b>Performance</b> is parts per running minute over the ideal rate; in the product it counts as 100 % at
        most. <b>Quality</b> is good parts over all parts, as the model sees them. It is like an OEE, not a certified one.
      </p>
    </>
  ),
  latency: ({ latency }) => (
    <>
      <Facts
        of={[
          ["99 of 100 parts within", `${ms(latency.p99_ms)} ms`],
          ["Deadline", `${ms(latency.deadline_ms)} ms`],
          ["Counted over", `${count(latency.of)} parts`],
        ]}
      />
      <p>
        {latency.acknowledged
          ? "From the trigger until the PLC has acknowledged the output, over the last five minutes."
          : "From the trigger until the result is published, over the last window."}{" "}
        A part that is later than its deadline is treated as bad.
      </p>
    </>
  ),
  link: ({ line }) => (
    <>
      <Facts
        of={[
          ["State", LINK[line.link.state].word],
          ["PLC", line.link.source || "this pipeline has no outputs"],
          ["Why", line.link.why || "it answers"],
          ["Looked at", clock(now.value)],
        ]}
      />
      <p>While the link is lost, the PLC's own watchdog sets the line to its safe state.</p>
    </>
  ),
};
