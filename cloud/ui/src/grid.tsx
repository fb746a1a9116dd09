// A grid of any number of rows: only those in view are in the document. Rows keep their place while the pointer or the
// focus is on the grid; the order is made anew by a person, by a new filter, or when nobody looks closely.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { DeviceRow } from "./api";
import { COLUMNS } from "./columns";
import { now, rows, tick } from "./live";
import { change, deviceOf, filter, go, order } from "./route";

const ROW = 38;
const HEAD = 40;
const EXTRA = 8;
const RESORT_MS = 5_000;
const WIDTH = COLUMNS.reduce((sum, column) => sum + column.width, 0);
const TEMPLATE = COLUMNS.map((column) => (column.key === "reason" ? `minmax(${column.width}px, 1fr)` : `${column.width}px`)).join(" ");

export function sorted(nodes: readonly string[], by: string): string[] {
  const down = by.startsWith("-");
  const key = down ? by.slice(1) : by;
  const column = COLUMNS.find((one) => one.key === key) ?? COLUMNS[0];
  if (!column) return [...nodes];
  const found = nodes.map((node) => rows.get(node)).filter((row): row is DeviceRow => row !== undefined);
  const keyed = found.map((row) => ({ row, value: column.value(row) }));
  keyed.sort((a, b) => {
    const less = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
    return (down ? -less : less) || (a.row.node < b.row.node ? -1 : 1);
  });
  return keyed.map(({ row }) => row.node);
}

function Head() {
  const by = order.value;
  return (
    <div class="row head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: TEMPLATE }}>
      {COLUMNS.map((column, at) => {
        const up = by === column.key;
        const down = by === `-${column.key}`;
        const next = column.number ? (down ? column.key : `-${column.key}`) : up ? `-${column.key}` : column.key;
        return (
          <div
            key={column.key}
            role="columnheader"
            aria-colindex={at + 1}
            aria-sort={up ? "ascending" : down ? "descending" : "none"}
            class={column.number ? "number" : undefined}
          >
            <button title={column.title} tabIndex={-1} onClick={() => change("sort", next)}>
              {column.name}
              <span aria-hidden="true">{up ? " ↑" : down ? " ↓" : ""}</span>
            </button>
          </div>
        );
      })}
    </div>
  );
}

function Row({ row, at, active }: { row: DeviceRow; at: number; active: boolean }) {
  return (
    <div
      id={`row-${at}`}
      role="row"
      aria-rowindex={at + 2}
      aria-selected={active}
      class={`row ${row.state}${active ? " active" : ""}`}
      style={{ top: `${HEAD + at * ROW}px`, gridTemplateColumns: TEMPLATE }}
      onClick={() => go(deviceOf(row.node))}
    >
      {COLUMNS.map((column, index) => (
        <div key={column.key} role="gridcell" aria-colindex={index + 1} class={column.number ? "number" : undefined}>
          {column.show(row, now.value)}
        </div>
      ))}
    </div>
  );
}

export function Grid({ nodes }: { nodes: readonly string[] }) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [chosen, setChosen] = useState<string | null>(null); // by name: its row may move
  const [shown, setShown] = useState<string[]>(() => sorted(nodes, order.value));
  const by = order.value;
  const query = filter.value;
  void tick.value;

  useLayoutEffect(() => setShown(sorted(nodes, by)), [nodes, by]);
  useLayoutEffect(() => {
    setChosen(null);
    if (box.current) box.current.scrollTop = 0;
  }, [query, by]);
  useEffect(() => {
    const timer = setInterval(() => {
      const element = box.current;
      if (element && !element.matches(":hover") && !element.contains(document.activeElement)) {
        setShown(sorted(nodes, by));
      }
    }, RESORT_MS);
    return () => clearInterval(timer);
  }, [nodes, by]);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const resized = new ResizeObserver(measure);
    resized.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      resized.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);

  const active = chosen === null ? 0 : Math.max(0, shown.indexOf(chosen));

  function move(to: number) {
    const at = Math.max(0, Math.min(shown.length - 1, to));
    setChosen(shown[at] ?? null);
    const element = box.current;
    if (!element) return;
    const top = at * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW + HEAD > element.scrollTop + element.clientHeight) {
      element.scrollTop = top + ROW + HEAD - element.clientHeight;
    }
  }

  function onKey(event: KeyboardEvent) {
    const page = Math.max(1, Math.floor(view.height / ROW) - 2);
    const moves: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: shown.length - 1,
    };
    const to = moves[event.key];
    const node = shown[active];
    if (to !== undefined) {
      event.preventDefault();
      move(to);
    } else if (event.key === "Enter" && node) go(deviceOf(node));
  }

  const first = Math.max(0, Math.floor(view.top / ROW) - EXTRA);
  const last = Math.min(shown.length, Math.ceil((view.top + view.height) / ROW) + EXTRA);
  return (
    <div
      ref={box}
      class="grid"
      role="grid"
      tabIndex={0}
      aria-label="Devices"
      aria-rowcount={shown.length + 1}
      aria-colcount={COLUMNS.length}
      aria-activedescendant={active >= first && active < last ? `row-${active}` : undefined}
      onKeyDown={onKey}
    >
      <div class="sheet" role="rowgroup" style={{ height: `${HEAD + shown.length * ROW}px`, minWidth: `${WIDTH}px` }}>
        <Head />
        {shown.slice(first, last).map((node, index) => {
          const row = rows.get(node);
          return row && <Row key={node} row={row} at={first + index} active={first + index === active} />;
        })}
      </div>
    </div>
  );
}
