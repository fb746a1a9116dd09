// The way in: a name and a password, or a link that works once.
import { useState } from "preact/hooks";
import type { SessionView } from "./api";
import { ended, post, session, words } from "./client";

export function Login({ onCancel }: { onCancel?: (() => void) | undefined }) {
  const used = new URLSearchParams(location.search).get("link") === "used";
  const [problem, setProblem] = useState(used ? "This link is not good any more." : ended.value ? "Your session has ended. Log in again." : "");
  const [busy, setBusy] = useState(false);

  async function submit(event: SubmitEvent) {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    try {
      session.value = await post<SessionView>("/login", { name: form.get("name"), password: form.get("password") });
      ended.value = false;
      onCancel?.();
    } catch (error) {
      setProblem(words(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <main class="login">
      <form class="card" onSubmit={(event) => void submit(event)}>
        <h1>
          <img src="/static/icon.svg" alt="" width="28" height="28" /> PlantEdge line
        </h1>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <label>
          Name
          <input name="name" autocomplete="username" required autofocus />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <button class="primary" disabled={busy}>
          {busy ? "Logging in…" : "Log in"}
        </button>
        {onCancel && (
          <button type="button" class="quiet" onClick={onCancel}>
            Back
          </button>
        )}
        <p class="hint">
          Names and passwords are those of the OPC UA server's users. On the device, <code>plantedge hmi</code> prints a link
          that logs in.
        </p>
      </form>
    </main>
  );
}
