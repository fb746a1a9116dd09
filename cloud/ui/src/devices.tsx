// All devices, by the one filter grammar of the service; the page asks it which devices match.
import { useEffect, useState } from "preact/hooks";
import type { DeviceState, Matches } from "./api";
import { get, words } from "./client";
import { count } from "./format";
import { Grid } from "./grid";
import { lost, members, rows, tick, totals } from "./live";
import { change, filter } from "./route";
import { STATES, Shape, WORD } from "./state";

const TYPING_MS = 200;
const AGAIN_MS = 2_000; // what matches changes with what devices say

function useMatches(query: string): { nodes: readonly string[]; problem: string } {
  const everything = members.value;
  const [found, setFound] = useState<{ query: string; nodes: readonly string[]; problem: string }>({
    query: "",
    nodes: [...rows.keys()],
    problem: "",
  });
  useEffect(() => {
    if (!query.trim()) {
      setFound({ query, nodes: [...rows.keys()], problem: "" });
      return;
    }
    const abort = new AbortController();
    let asked = -1;
    const ask = async () => {
      if (asked === tick.peek() || (asked >= 0 && lost.peek() !== null)) return;
      asked = tick.peek();
      try {
        const { nodes } = await get<Matches>(`/matches?q=${encodeURIComponent(query)}`, abort.signal);
        setFound((old) => (same(old.nodes, nodes) && !old.problem ? old : { query, nodes, problem: "" }));
      } catch (error) {
        if (!abort.signal.aborted) setFound((old) => ({ ...old, query, problem: words(error) }));
      }
    };
    const soon = setTimeout(() => void ask(), TYPING_MS);
    const timer = setInterval(() => void ask(), AGAIN_MS);
    return () => {
      abort.abort();
      clearTimeout(soon);
      clearInterval(timer);
    };
  }, [query, everything]);
  return found;
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((node, at) => node === b[at]);

function StateFilter({ state, query }: { state: DeviceState; query: string }) {
  const term = `state:${state}`;
  const terms = query.split(/\s+/).filter(Boolean);
  const on = terms.includes(term);
  const others = terms.filter((one) => !one.startsWith("state:"));
  return (
    <button
      class="toggle"
      aria-pressed={on}
      onClick={() => change("q", (on ? others : [term, ...others]).join(" "))}
    >
      <Shape state={state} /> {WORD[state]} <span class="muted">{count(totals.value?.[state] ?? 0)}</span>
    </button>
  );
}

export function Devices() {
  const query = filter.value;
  const { nodes, problem } = useMatches(query);
  return (
    <main class="devices">
      <h1 class="visually-hidden">Devices</h1>
      <div class="filters">
        <div class="search">
          <input
            id="filter"
            type="search"
            aria-label="Filter devices"
            aria-describedby="matched"
            placeholder="site:berlin state:alarm p99>5 …"
            spellcheck={false}
            autocomplete="off"
            value={query}
            onInput={(event) => change("q", event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" || event.key === "ArrowDown") {
                event.preventDefault();
                document.querySelector<HTMLElement>(".grid")?.focus();
              }
            }}
          />
          <kbd aria-hidden="true">/</kbd>
        </div>
        <div class="toggles" role="group" aria-label="By state">
          {STATES.map((state) => (
            <StateFilter key={state} state={state} query={query} />
          ))}
        </div>
        <span id="matched" class="matched" role="status">
          {count(nodes.length)} of {count(rows.size)} match
        </span>
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <Grid nodes={nodes} />
    </main>
  );
}
