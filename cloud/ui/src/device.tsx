// One device: how it is and why, its pipelines, models and processes, its configuration, and what happened.
import { useEffect, useState } from "preact/hooks";
import { AlertList } from "./alerts";
import type { DeviceDetail, DeviceRow } from "./api";
import { get, may, post, words } from "./client";
import { Configuration } from "./configuration";
import { ago, celsius, count, days, megabytes, moment, ms, rate, share, span } from "./format";
import { now, rows, tick } from "./live";
import { Shape, StateWord } from "./state";
import { Table } from "./table";

const AGAIN_MS = 2_000;

function useDetail(node: string): { detail: DeviceDetail | null; problem: string; again: () => void } {
  const [detail, setDetail] = useState<DeviceDetail | null>(null);
  const [problem, setProblem] = useState("");
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    const ask = async () => {
      try {
        setDetail(await get<DeviceDetail>(`/devices/${encodeURIComponent(node)}`, abort.signal));
        setProblem("");
      } catch (error) {
        if (!abort.signal.aborted) setProblem(words(error));
      }
    };
    void ask();
    const timer = setInterval(() => void ask(), AGAIN_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [node, asked]);
  return { detail, problem, again: () => setAsked((times) => times + 1) };
}

function Facts({ row, detail }: { row: DeviceRow; detail: DeviceDetail }) {
  const left = days(row.certificate_ms, now.value);
  const facts: readonly (readonly [string, string, string])[] = [
    ["p50", `${ms(row.p50_ms)} ms`, ""],
    ["p99", `${ms(row.p99_ms)} ms`, ""],
    ["Misses", count(row.misses), row.misses ? "degraded" : ""],
    ["Rate", `${rate(row.rate_hz)} /s`, ""],
    ["Links", `${detail.links_up} up, ${detail.links_down} down`, detail.links_down ? "alarm" : ""],
    ["CPU", share(row.cpu), ""],
    ["RAM", share(row.memory), ""],
    ["Disk", share(row.disk), row.disk > 0.9 ? "degraded" : ""],
    ["Temperature", celsius(row.temperature_c), ""],
    ["Upstream today", `${megabytes(row.upstream_bytes)} MB`, ""],
    ["Queue", count(row.queue), ""],
    ["Certificate", row.certificate_ms ? `${left} d left` : "–", left < 14 ? "degraded" : ""],
    ["Up for", span(detail.uptime_s), ""],
    ["Refused", count(detail.refused), detail.refused ? "degraded" : ""],
  ];
  return (
    <dl class="facts card">
      {facts.map(([name, value, tone]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd class={tone && `word ${tone}`}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Ping({ node, onSent }: { node: string; onSent: () => void }) {
  const [problem, setProblem] = useState("");
  async function send() {
    try {
      await post(`/devices/${node}/requests`, { verb: "ping" });
      setProblem("");
      onSent();
    } catch (error) {
      setProblem(words(error));
    }
  }
  return (
    <span class="actions">
      {problem && <span class="problem">{problem}</span>}
      <button onClick={() => void send()}>Ping</button>
    </span>
  );
}

function Pipelines({ detail }: { detail: DeviceDetail }) {
  return (
    <Table
      name="Pipelines"
      head={["Pipeline", "p50 ms", "p99 ms", "Rate /s", "Late", "Dropped"]}
      numbers={[1, 2, 3, 4, 5]}
      rows={detail.pipelines.map((p) => [
        p.pipeline,
        ms(p.p50_ms),
        ms(p.p99_ms),
        rate(p.rate_hz),
        count(p.late),
        count(p.dropped),
      ])}
      empty="No pipeline has run in the last half minute."
    />
  );
}

function Processes({ detail }: { detail: DeviceDetail }) {
  return (
    <Table
      name="Processes"
      head={["Process", "State", "Memory MB"]}
      numbers={[2]}
      rows={detail.processes.map((p) => [p.process, <ProcessState key="s" state={p.state} />, p.rss_mb.toFixed(0)])}
      empty="No process is reported."
    />
  );
}

function Models({ detail }: { detail: DeviceDetail }) {
  return (
    <Table
      name="Models"
      head={["Model", "Version", "State", "Digest"]}
      rows={detail.models.map((m) => [m.model, m.version, m.phase, <code key="d">{m.digest.slice(0, 12)}</code>])}
      empty="No model is reported."
    />
  );
}

function Requests({ detail }: { detail: DeviceDetail }) {
  return (
    <Table
      name="Requests"
      head={["Request", "Outcome", "By", "When", "Took"]}
      numbers={[4]}
      rows={detail.requests.slice(0, 8).map((r) => [
        `${r.verb} ${r.process}`,
        r.reason ? `${r.outcome}: ${r.reason.replaceAll("_", " ")}` : r.outcome,
        r.by,
        ago(r.made_ms, now.value),
        r.took_ms ? `${count(r.took_ms)} ms` : "–",
      ])}
      empty="Nothing was asked of this device."
    />
  );
}

function History({ detail }: { detail: DeviceDetail }) {
  return (
    <section class="card">
      <h2>History</h2>
      <ol class="history">
        {detail.history.slice(0, 20).map((line, at) => (
          <li key={at}>
            <time title={moment(line.time_ms)}>{ago(line.time_ms, now.value)}</time>
            <span class="kind">{line.kind}</span>
            <span>
              {line.text}
              {line.by && <span class="muted"> by {line.by}</span>}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function ProcessState({ state }: { state: string }) {
  const shape = state === "stopped" ? "alarm" : state === "degraded" ? "degraded" : "ok";
  return (
    <span class="state-word">
      <Shape state={shape} /> {state}
    </span>
  );
}

export function Device({ node }: { node: string }) {
  void tick.value;
  const { detail, problem, again } = useDetail(node);
  const row = rows.get(node) ?? detail?.row;
  if (!row || !detail) return <main class="waiting">{problem || "Loading…"}</main>;
  return (
    <main class="device">
      <p class="crumbs">
        <a href="/devices">Devices</a> / {node}
      </p>
      <div class="title">
        <h1>{node}</h1>
        <StateWord state={row.state} />
        <span class="muted" title={moment(row.seen_ms)}>
          {row.reason && `${row.reason} · `}last seen {ago(row.seen_ms, now.value)}
        </span>
        {may("operator") && <Ping node={node} onSent={again} />}
      </div>
      <p class="muted">
        {row.site} / {row.line} · {row.hardware} · PlantEdge {row.software}
      </p>
      {problem && <p class="problem">{problem}</p>}
      <Facts row={row} detail={detail} />
      {detail.alerts.length > 0 && (
        <section class="card">
          <h2>Alerts</h2>
          <AlertList of={detail.alerts} device={false} />
        </section>
      )}
      <div class="columns">
        <div class="stack">
          <Pipelines detail={detail} />
          <Processes detail={detail} />
          <Requests detail={detail} />
        </div>
        <div class="stack">
          <Models detail={detail} />
          <Configuration node={node} detail={detail} onSent={again} />
          <History detail={detail} />
        </div>
      </div>
    </main>
  );
}
