// The page's frame: header, banners, and which page the address names.
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Alerts } from "./alerts";
import { askSession, post, session } from "./client";
import { Device } from "./device";
import { Devices } from "./devices";
import { clock, count } from "./format";
import { broker, follow, lost, totals, unfollow } from "./live";
import { Login } from "./login";
import { Overview } from "./overview";
import { place } from "./route";

function Link({ to, children }: { to: string; children: preact.ComponentChildren }) {
  const path = place.value.path;
  const current = to === "/" ? path === "/" : path.startsWith(to);
  return (
    <a href={to} aria-current={current ? "page" : undefined}>
      {children}
    </a>
  );
}

function Header() {
  const unacked = totals.value?.unacked ?? 0;
  const live = lost.value === null;
  return (
    <header class="top">
      <a class="brand" href="/">
        <img src="/static/icon.svg" alt="" width="24" height="24" />
        <span>
          PlantEdge <small>fleet</small>
        </span>
      </a>
      <nav aria-label="Pages">
        <Link to="/">Overview</Link>
        <Link to="/devices">Devices</Link>
        <Link to="/alerts">
          Alerts{unacked > 0 && <span class="badge">{count(unacked)}</span>}
        </Link>
      </nav>
      <span class={live ? "link live" : "link"} role="status">
        <i aria-hidden="true" />
        {live ? "Live" : "Not live"}
      </span>
      <span class="user">
        {session.value?.user} <small>{session.value?.role}</small>
      </span>
      <button class="quiet" onClick={() => void logout()}>
        Log out
      </button>
    </header>
  );
}

async function logout() {
  await post("/logout", {}).catch(() => undefined);
  session.value = null;
}

function Banners() {
  return (
    <div class="banners" role="alert">
      {lost.value !== null && (
        <p class="banner">
          <b>Live updates are lost since {clock(lost.value)}.</b> What you see is as of then; reconnecting by itself.
        </p>
      )}
      {lost.value === null && !broker.value && (
        <p class="banner">
          <b>The fleet's broker is away.</b> Devices are not heard: their states are as of the last contact.
        </p>
      )}
    </div>
  );
}

function Page() {
  const path = place.value.path;
  if (path === "/") return <Overview />;
  if (path === "/devices") return <Devices />;
  if (path === "/alerts") return <Alerts />;
  if (path.startsWith("/devices/")) return <Device key={path} node={decodeURIComponent(path.slice(9))} />;
  return (
    <main>
      <h1>No such page</h1>
    </main>
  );
}

function App() {
  const user = session.value?.user;
  useEffect(() => {
    if (!user) return;
    void follow();
    return unfollow;
  }, [user]);
  if (session.value === undefined) return null;
  if (session.value === null) return <Login />;
  const stale = lost.value !== null || !broker.value;
  return (
    <div class={stale ? "frame stale" : "frame"}>
      <Header />
      <Banners />
      {totals.value === null ? <main class="waiting">Loading the fleet…</main> : <Page />}
    </div>
  );
}

document.addEventListener("keydown", (event) => {
  const typing = (event.target as Element).closest?.("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey) return;
  const field = document.querySelector<HTMLInputElement>("#filter");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});

void askSession();
const root = document.getElementById("app");
if (root) render(<App />, root);
