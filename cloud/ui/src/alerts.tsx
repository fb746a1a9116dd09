// Alerts that are not closed: acknowledged with a note, each with its device.
import { useState } from "preact/hooks";
import type { AlertView } from "./api";
import { may, post, words } from "./client";
import { ago, moment } from "./format";
import { alerts, now } from "./live";
import { deviceOf } from "./route";
import { Shape, stateOf } from "./state";

const LIFE: Readonly<Record<string, string>> = {
  active_unacked: "Active",
  active_acked: "Active, acknowledged",
  cleared_unacked: "Cleared, not acknowledged",
};
const SHOWN = 200;

export function AlertList({ of, device = true }: { of: readonly AlertView[]; device?: boolean }) {
  return (
    <ul class="alerts">
      {of.map((alert) => (
        <AlertItem key={`${alert.node}/${alert.key}`} alert={alert} device={device} />
      ))}
    </ul>
  );
}

function AlertItem({ alert, device }: { alert: AlertView; device: boolean }) {
  const [noting, setNoting] = useState(false);
  const [problem, setProblem] = useState("");
  const open = alert.state !== "active_acked";

  async function acknowledge(event: SubmitEvent) {
    event.preventDefault();
    const note = new FormData(event.currentTarget as HTMLFormElement).get("note");
    try {
      await post(`/alerts/${alert.node}/${alert.key}/ack`, { note: note ?? "" });
      setNoting(false);
    } catch (error) {
      setProblem(words(error));
    }
  }

  return (
    <li class={alert.state}>
      <Shape state={alert.state === "cleared_unacked" ? "ok" : stateOf(alert.severity)} />
      <div class="what">
        <b>{alert.text}</b>
        <span class="muted">
          {device && (
            <>
              <a href={deviceOf(alert.node)}>{alert.node}</a> ·{" "}
            </>
          )}
          {alert.origin} · {LIFE[alert.state]}
          {alert.acked_by && ` by ${alert.acked_by}`}
          {alert.note && `: ${alert.note}`}
        </span>
        {noting && (
          <form onSubmit={(event) => void acknowledge(event)}>
            <input name="note" placeholder="Note (optional)" aria-label="Note" maxlength={500} autofocus />
            <button class="primary">Acknowledge</button>
            <button type="button" class="quiet" onClick={() => setNoting(false)}>
              Cancel
            </button>
          </form>
        )}
        {problem && <span class="problem">{problem}</span>}
      </div>
      <time title={moment(alert.changed_ms)}>{ago(alert.changed_ms, now.value)}</time>
      {open && !noting && may("operator") && (
        <button onClick={() => setNoting(true)} aria-label={`Acknowledge ${alert.text} of ${alert.node}`}>
          Acknowledge
        </button>
      )}
    </li>
  );
}

export function Alerts() {
  const all = alerts.value;
  return (
    <main>
      <h1>Alerts</h1>
      <section class="card">
        {all.length ? <AlertList of={all.slice(0, SHOWN)} /> : <p class="empty">No alerts. All is acknowledged.</p>}
        {all.length > SHOWN && (
          <p class="muted">
            The newest {SHOWN} of {all.length} are shown.
          </p>
        )}
      </section>
    </main>
  );
}
