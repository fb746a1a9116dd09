// Desired configuration beside what the device reports, and a form that changes one section.
import { useState } from "preact/hooks";
import type { DeviceDetail } from "./api";
import { may, post, words } from "./client";
import { ago } from "./format";
import { now } from "./live";

const OUTCOME: Readonly<Record<string, string>> = {
  pending: "waits for the device",
  applied: "applied by the device",
  rejected: "rejected by the device",
};

interface Props {
  readonly node: string;
  readonly detail: DeviceDetail;
  readonly onSent: () => void;
}

function Form({ node, detail, onSent }: Props) {
  const [problem, setProblem] = useState("");
  async function submit(event: SubmitEvent) {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const section = String(form.get("section")).trim();
    try {
      const values: unknown = JSON.parse(String(form.get("values")));
      const body = { sections: { [section]: values }, base: detail.config_desired.generation };
      await post(`/devices/${node}/config`, body);
      setProblem("");
      onSent();
    } catch (error) {
      setProblem(error instanceof SyntaxError ? `The values are not JSON: ${error.message}` : words(error));
    }
  }
  return (
    <form class="config" onSubmit={(event) => void submit(event)}>
      <label>
        Section
        <input name="section" required pattern="[a-z0-9_\-]+" list="sections" placeholder="mirror" />
      </label>
      <datalist id="sections">
        {Object.keys(detail.config).map((section) => (
          <option key={section} value={section} />
        ))}
      </datalist>
      <label>
        Values (JSON)
        <textarea name="values" required rows={4} spellcheck={false} placeholder="{ }" />
      </label>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <button class="primary">Send to {node}</button>
      <p class="hint">The device checks it, applies it and reports back, or goes back to what it had.</p>
    </form>
  );
}

export function Configuration(props: Props) {
  const { config, config_desired: desired } = props.detail;
  const sections = [...new Set([...Object.keys(desired.sections), ...Object.keys(config)])].sort();
  return (
    <section class="card">
      <h2>
        Configuration <span class="muted">{desired.generation ? `generation ${desired.generation}` : ""}</span>
      </h2>
      {desired.generation > 0 && (
        <p>
          Generation {desired.generation}, by {desired.by} {ago(desired.changed_ms, now.value)}:{" "}
          <b class={desired.outcome === "rejected" ? "word alarm" : undefined}>{OUTCOME[desired.outcome]}</b>
          {desired.reason && ` (${desired.reason.replaceAll("_", " ")})`}
        </p>
      )}
      {sections.length === 0 && <p class="empty">The device runs with its own files; nothing was set from here.</p>}
      <dl class="sections">
        {sections.map((section) => (
          <div key={section}>
            <dt>
              {section} <span class="muted">{config[section] === undefined ? "" : `version ${config[section]} reported`}</span>
            </dt>
            {desired.sections[section] && (
              <dd>
                <pre tabIndex={0}>{JSON.stringify(desired.sections[section], null, 2)}</pre>
              </dd>
            )}
          </div>
        ))}
      </dl>
      {may("engineer") && (
        <details>
          <summary>Change a section</summary>
          <Form {...props} />
        </details>
      )}
    </section>
  );
}
