// Every device as a cell, by site. A few are buttons with names; many are drawn on one canvas, a shape for each state.
import { effect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { DeviceRow, DeviceState } from "./api";
import { count } from "./format";
import { members, rows, tick, totals } from "./live";
import { deviceOf, go } from "./route";
import { CellShape, STATES, Shape, WORD } from "./state";

const FEW = 48;
const GAP = 2;
const HEADING = 22;

interface Cell {
  readonly node: string;
  readonly x: number;
  readonly y: number;
}

interface Layout {
  readonly size: number;
  readonly height: number;
  readonly cells: readonly Cell[];
  readonly headings: readonly { readonly text: string; readonly y: number }[];
}

function bySite(): Map<string, DeviceRow[]> {
  const sites = new Map<string, DeviceRow[]>();
  for (const row of rows.values()) {
    const site = sites.get(row.site);
    if (site) site.push(row);
    else sites.set(row.site, [row]);
  }
  for (const site of sites.values()) site.sort((a, b) => (a.node < b.node ? -1 : 1));
  return new Map([...sites].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function layOut(width: number): Layout {
  const size = rows.size > 2000 ? 11 : rows.size > 500 ? 14 : 20;
  const perLine = Math.max(1, Math.floor((width + GAP) / (size + GAP)));
  const cells: Cell[] = [];
  const headings: { text: string; y: number }[] = [];
  let y = 0;
  for (const [site, devices] of bySite()) {
    headings.push({ text: `${site || "unknown site"}  ${count(devices.length)}`, y: y + 14 });
    y += HEADING;
    devices.forEach((row, at) => {
      cells.push({ node: row.node, x: (at % perLine) * (size + GAP), y: y + Math.floor(at / perLine) * (size + GAP) });
    });
    y += Math.ceil(devices.length / perLine) * (size + GAP) + 8;
  }
  return { size, height: y, cells, headings };
}

interface Painted {
  readonly layout: Layout;
  readonly states: Map<string, DeviceState>;
}

function paper(canvas: HTMLCanvasElement, layout: Layout, width: number): CanvasRenderingContext2D | null {
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = layout.height * scale;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${layout.height}px`;
  const pen = canvas.getContext("2d");
  pen?.scale(scale, scale);
  return pen;
}

// Draws the cells whose state is not the one that was drawn, which is none in most quarters of a second.
function draw(canvas: HTMLCanvasElement, pen: CanvasRenderingContext2D, painted: Painted): void {
  const { layout, states } = painted;
  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  if (states.size === 0) {
    pen.font = `600 12px ${style.fontFamily}`;
    pen.fillStyle = colour("muted");
    for (const heading of layout.headings) pen.fillText(heading.text, 0, heading.y);
  }
  const colours = Object.fromEntries(STATES.map((state) => [state, colour(state)])) as Record<DeviceState, string>;
  for (const cell of layout.cells) {
    const state = rows.get(cell.node)?.state ?? "offline";
    if (states.get(cell.node) === state) continue;
    states.set(cell.node, state);
    pen.clearRect(cell.x - 1, cell.y - 1, layout.size + GAP, layout.size + GAP);
    pen.fillStyle = pen.strokeStyle = colours[state];
    drawCell(pen, state, cell.x, cell.y, layout.size);
  }
}

function drawCell(pen: CanvasRenderingContext2D, state: DeviceState, x: number, y: number, size: number): void {
  const half = size / 2;
  pen.beginPath();
  if (state === "offline") {
    pen.lineWidth = 1.5;
    pen.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
  } else if (state === "alarm") {
    pen.moveTo(x + half, y - 0.5);
    pen.lineTo(x + size + 0.5, y + half);
    pen.lineTo(x + half, y + size + 0.5);
    pen.lineTo(x - 0.5, y + half);
    pen.fill();
  } else if (state === "degraded") {
    pen.moveTo(x + half, y);
    pen.lineTo(x + size, y + size);
    pen.lineTo(x, y + size);
    pen.fill();
  } else {
    pen.globalAlpha = 0.4; // what needs attention stands out
    pen.roundRect(x, y, size, size, 2);
    pen.fill();
    pen.globalAlpha = 1;
  }
}

function Many() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const layout = useRef<Layout | null>(null);
  const [hint, setHint] = useState<{ row: DeviceRow; x: number; y: number } | null>(null);

  useEffect(() => {
    const element = canvas.current;
    const box = element?.parentElement;
    if (!element || !box) return;
    let pending = 0;
    let laidOut = -1;
    let width = 0;
    let pen: CanvasRenderingContext2D | null = null;
    let painted: Painted | null = null;
    const paint = () => {
      pending = 0;
      if (!painted || laidOut !== members.peek() || width !== box.clientWidth) {
        laidOut = members.peek();
        width = box.clientWidth;
        layout.current = layOut(width);
        pen = paper(element, layout.current, width);
        painted = { layout: layout.current, states: new Map() };
      }
      if (pen) draw(element, pen, painted);
    };
    const soon = () => {
      pending ||= requestAnimationFrame(paint);
    };
    const stop = effect(() => {
      void (tick.value + members.value);
      soon();
    });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const resized = new ResizeObserver(soon);
    resized.observe(box);
    const anew = () => {
      painted = null;
      soon();
    };
    dark.addEventListener("change", anew);
    return () => {
      stop();
      resized.disconnect();
      dark.removeEventListener("change", anew);
      cancelAnimationFrame(pending);
    };
  }, []);

  function at(event: MouseEvent): DeviceRow | undefined {
    const found = layout.current?.cells.find(
      (cell) =>
        event.offsetX >= cell.x &&
        event.offsetX < cell.x + (layout.current?.size ?? 0) + GAP &&
        event.offsetY >= cell.y &&
        event.offsetY < cell.y + (layout.current?.size ?? 0) + GAP,
    );
    return found && rows.get(found.node);
  }

  const of = totals.value;
  const label = of ? STATES.map((state) => `${of[state]} ${WORD[state]}`).join(", ") : "";
  return (
    <div class="heatmap">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`All devices by site: ${label}. The same devices are listed on the page Devices.`}
        onMouseMove={(event) => {
          const row = at(event);
          setHint(row ? { row, x: event.offsetX, y: event.offsetY } : null);
        }}
        onMouseLeave={() => setHint(null)}
        onClick={(event) => {
          const row = at(event);
          if (row) go(deviceOf(row.node));
        }}
      />
      {hint && (
        <div class="hint-box" style={{ left: `${hint.x + 14}px`, top: `${hint.y + 14}px` }}>
          <b>{hint.row.node}</b> <Shape state={hint.row.state} /> {WORD[hint.row.state]}
          {hint.row.reason && <div class="muted">{hint.row.reason}</div>}
        </div>
      )}
    </div>
  );
}

function Few() {
  void tick.value;
  return (
    <div class="chips">
      {[...bySite().values()].flat().map((row) => (
        <a key={row.node} class={`chip ${row.state}`} href={deviceOf(row.node)} title={row.reason}>
          <Shape state={row.state} />
          <span>
            <b>{row.node}</b>
            <small class="place">
              {row.site} / {row.line}
            </small>
            <small>
              <i class={`word ${row.state}`}>{WORD[row.state]}</i>
              {row.reason && ` · ${row.reason}`}
            </small>
          </span>
        </a>
      ))}
    </div>
  );
}

export function Heatmap() {
  void members.value;
  return (
    <>
      {rows.size <= FEW ? <Few /> : <Many />}
      <ul class="legend">
        {STATES.map((state) => (
          <li key={state}>
            {rows.size <= FEW ? <Shape state={state} /> : <CellShape state={state} />} {WORD[state]}
          </li>
        ))}
      </ul>
    </>
  );
}
