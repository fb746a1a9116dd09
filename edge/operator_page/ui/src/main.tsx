// The page's frame: header, banners, the one screen, and what lies over it.
import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { LineState, PartDetail, StationView } from "./api";
import { askSession, post, session, words } from "./client";
import { clock, hour, span, title } from "./format";
import { Judged } from "./judged";
import { choose, follow, now, quietFor, silentFor, snapshot, station, unfollow } from "./live";
import { Login } from "./login";
import { Part } from "./part";
import { Newest, Strip } from "./parts";
import { LINE, Shape } from "./shapes";
import { next, theme } from "./theme";
import { Tiles } from "./tiles";

const SPOKEN_MS = 10_000; // a line that rejects often must not talk all the time

function Header({ onLogin }: { onLogin: () => void }) {
  const who = session.value;
  const seen = snapshot.value;
  return (
    <header class="top">
      <img src="/static/icon.svg" alt="" width="28" height="28" />
      <h1>
        {who?.line} <small>{who?.node}</small>
      </h1>
      <Stations all={seen?.stations ?? []} />
      {seen && (
        <span class="shift">
          Shift {hour(seen.shift_begin_ms)}–{hour(seen.shift_end_ms)}
        </span>
      )}
      <time class="clock">{clock(now.value)}</time>
      <button class="quiet" onClick={next} aria-label={`Colours: ${theme.value}`}>
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d="M12 2a10 10 0 1 1 0 20 10 10 0 0 1 0-20Zm0 2.4v15.2a7.6 7.6 0 0 0 0-15.2Z" fill-rule="evenodd" />
        </svg>
        {theme.value}
      </button>
      {who?.name ? (
        <button class="quiet" onClick={() => void logout()}>
          {who.name} · log out
        </button>
      ) : (
        <button class="quiet" onClick={onLogin}>
          Log in
        </button>
      )}
    </header>
  );
}

function Stations({ all }: { all: readonly StationView[] }) {
  const current = station.value?.pipeline;
  const bar = useRef<HTMLElement>(null);
  useEffect(() => bar.current?.querySelector("[aria-current]")?.scrollIntoView({ inline: "nearest" }), [current]);
  if (all.length < 2) return <span class="pipeline">{title(all[0]?.pipeline ?? "")}</span>;
  return (
    <nav aria-label="Pipelines" ref={bar}>
      {all.map(({ pipeline, line }) => (
        <button
          key={pipeline}
          aria-current={pipeline === current ? "page" : undefined}
          onClick={() => choose(pipeline)}
        >
          <Trouble state={line.state} />
          {title(pipeline)}
        </button>
      ))}
    </nav>
  );
}

// What is wrong at a station is seen from the others.
function Trouble({ state }: { state: LineState }) {
  const { tone, word } = LINE[state];
  if (tone === "ok" || tone === "calm") return null;
  return (
    <>
      <Shape tone={tone} />
      <span class="visually-hidden">{word}: </span>
    </>
  );
}

const stillIn = signal(""); // why a logout failed

async function logout() {
  try {
    await post("/logout", {});
  } catch (error) {
    stillIn.value = words(error);
    return;
  }
  stillIn.value = "";
  session.value = undefined;
  await askSession(); // a panel goes on looking
}

function Banners() {
  const seen = snapshot.value;
  return (
    <div class="banners" role="alert">
      {stillIn.value && (
        <p class="banner">
          <b>You are still logged in.</b> {stillIn.value}.
        </p>
      )}
      {silentFor.value !== null && seen && (
        <p class="banner">
          <b>Connection to the device is lost.</b> What you see is {span(now.value - seen.time_ms)} old; it comes back by
          itself.
        </p>
      )}
      {silentFor.value === null && seen && !seen.broker && (
        <p class="banner">
          <b>The device's message broker is away.</b> What you see is {span(seen.time_ms - seen.heard_ms)} old.
        </p>
      )}
      {quietFor.value !== null && seen?.broker && (
        <p class="banner">
          <b>The device says nothing.</b> The last word is {span(quietFor.value)} old.
        </p>
      )}
    </div>
  );
}

// Says the newest reject to who does not see it, not more often than a person can listen.
function Spoken({ of }: { of: StationView }) {
  const [text, setText] = useState("");
  const spokenAt = useRef(0);
  const newest = of.rejects[0];
  useEffect(() => {
    if (!newest || performance.now() - spokenAt.current < SPOKEN_MS) return;
    spokenAt.current = performance.now();
    setText(`Reject: ${newest.label}${newest.part ? `, part ${newest.part}` : ""}`);
  }, [newest?.result_id]);
  return (
    <p class="visually-hidden" aria-live="polite">
      {text}
    </p>
  );
}

function Screen() {
  const [open, setOpen] = useState<{ id: string; drawn: PartDetail | null } | null>(null);
  const seen = snapshot.value;
  const of = station.value;
  if (!seen && silentFor.value !== null) return <main class="waiting">The device does not answer. Trying again…</main>;
  if (!seen) return <main class="waiting">Loading the line…</main>;
  if (!of) return <main class="waiting">This device has no pipeline whose results could be shown.</main>;
  const show = (id: string) => setOpen({ id, drawn: null });
  return (
    <main class="screen" key={of.pipeline}>
      <Newest part={of.newest} onOpen={show} />
      <Tiles station={of} seen={seen} />
      <Strip station={of} onOpen={show} />
      <Judged station={of} onDrawn={(detail) => setOpen({ id: detail.part.result_id, drawn: detail })} />
      <Spoken of={of} />
      {open && <Part key={open.id} id={open.id} drawn={open.drawn} onClose={() => setOpen(null)} />}
    </main>
  );
}

function App() {
  const [login, setLogin] = useState(false);
  const known = session.value !== null && session.value !== undefined;
  useEffect(() => {
    if (!known) return;
    follow();
    return unfollow;
  }, [known]);
  if (session.value === undefined) return <main class="waiting">Loading the line…</main>;
  if (session.value === null) return <Login />;
  if (login) return <Login onCancel={() => setLogin(false)} />;
  const stale = silentFor.value !== null || quietFor.value !== null || snapshot.value?.broker === false;
  return (
    <div class={stale ? "frame stale" : "frame"}>
      <Header onLogin={() => setLogin(true)} />
      <Banners />
      <Screen />
    </div>
  );
}

void askSession();
const root = document.getElementById("app");
if (root) render(<App />, root);
