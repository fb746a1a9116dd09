// A state is a shape, a word and a colour, so that it is read without any one of them.
import type { DeviceState, Severity } from "./api";

export const STATES: readonly DeviceState[] = ["ok", "degraded", "alarm", "offline"];
export const WORD: Readonly<Record<DeviceState, string>> = {
  ok: "OK",
  degraded: "Degraded",
  alarm: "Alarm",
  offline: "Offline",
};
export const SEVERITY: readonly DeviceState[] = ["alarm", "offline", "degraded", "ok"];

const PATHS: Readonly<Record<DeviceState, string>> = {
  ok: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Z",
  degraded: "M8 1.8 15 14H1Z",
  alarm: "M8 .8 15.2 8 8 15.2.8 8Z",
  offline: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Zm0 2.4a3.6 3.6 0 1 0 0 7.2 3.6 3.6 0 0 0 0-7.2Z",
};

// In a heat-map a cell is filled, so that thousands of them read as an area.
const CELLS: Readonly<Record<DeviceState, string>> = {
  ...PATHS,
  ok: "M2 2h12v12H2Z",
  offline: "M1.5 1.5h13v13h-13Zm2 2v9h9v-9Z",
};

export function CellShape({ state }: { state: DeviceState }) {
  return (
    <svg class={`shape cell ${state}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={CELLS[state]} fill-rule="evenodd" />
    </svg>
  );
}

export function Shape({ state }: { state: DeviceState }) {
  return (
    <svg class={`shape ${state}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[state]} fill-rule="evenodd" />
    </svg>
  );
}

export function StateWord({ state }: { state: DeviceState }) {
  return (
    <span class="state-word">
      <Shape state={state} />
      <span class={`word ${state}`}>{WORD[state]}</span>
    </span>
  );
}

export const stateOf = (severity: Severity): DeviceState =>
  severity === "alarm" ? "alarm" : severity === "warning" ? "degraded" : "ok";
