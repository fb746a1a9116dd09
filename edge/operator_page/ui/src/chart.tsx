// The share of rejects, a bar per minute of the last hour.
import type { MinuteView } from "./api";

const MINUTES = 60;
const HEIGHT = 24;

export function Chart({ minutes, now }: { minutes: readonly MinuteView[]; now: number }) {
  const last = Math.floor(now / 60_000);
  const bars = minutes.map((one) => {
    const all = one.good + one.reject + one.unknown;
    return { at: MINUTES - 1 - (last - one.at_ms / 60_000), part: all ? one.reject / all : 0 };
  });
  const most = Math.max(0.02, ...bars.map((bar) => bar.part));
  return (
    <svg class="chart" viewBox={`0 0 ${MINUTES * 2} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="ground" d={`M0 ${HEIGHT - 0.5}H${MINUTES * 2}`} />
      {bars.map((bar) => {
        const height = Math.max(bar.part > 0 ? 1 : 0, (bar.part / most) * (HEIGHT - 1));
        return <rect key={bar.at} x={bar.at * 2} y={HEIGHT - height} width="1.5" height={height} />;
      })}
    </svg>
  );
}
