// The way in: user and password, or a link that works once.
import { useState } from "preact/hooks";
import type { Session } from "./api";
import { post, session, words } from "./client";

export function Login() {
  const used = new URLSearchParams(location.search).get("link") === "used";
  const [problem, setProblem] = useState(used ? "This login link was used already, or is older than a day." : "");
  const [busy, setBusy] = useState(false);

  async function submit(event: SubmitEvent) {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    try {
      session.value = await post<Session>("/login", { user: form.get("user"), password: form.get("password") });
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
          <img src="/static/icon.svg" alt="" width="28" height="28" /> PlantEdge fleet
        </h1>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <label>
          User
          <input name="user" autocomplete="username" required autofocus value="admin" />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <button class="primary" disabled={busy}>
          Log in
        </button>
        <p class="hint">
          The password of <code>admin</code> was printed once, when the service first started. On its machine,{" "}
          <code>plantedge-fleet link</code> prints a login link.
        </p>
      </form>
    </main>
  );
}
