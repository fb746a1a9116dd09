"""Frame published -> result received, through the real runtime process and mosquitto, beside its floor.

The floor is what can't be avoided: two broker hops with the fastest raw client and one run of the same model. At
saturation the floor is what one core can do at most: read a frame's message, run the model, write twice to the broker.
Windows of floor and runtime alternate in one run. The last line is JSON: an object for each rate; the figures at
saturation stand in each.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench import shown
from tests.bench.line import PIPELINE, SHAPE, USERS, WARM, Line
from tests.bench.windows import Rounds, interleave, p50, p99, p999, per_second
from tests.device import Device
from tests.edge.small_models import write_classifier

P50_TARGET, P99_TARGET = 1.8, 8.0  # times the floor's p50
FPS_TARGET, SHARE_TARGET = 3500.0, 0.8
IN_FLIGHT = 16
CURVE = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Row:
    """One rate: medians over the windows. `dropped` frames have an answer that says why, `lost` ones have none."""

    rate: float
    floor_us: float
    floor_p99_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    ratio_p50: float
    ratio_p99: float
    p99_over_floor: float
    infer_us: float
    sent: int
    dropped: int
    lost: int
    windows: int
    steal_windows_dropped: int
    worst_steal: float
    realtime: bool


def _row(rate: float, rounds: Rounds, realtime: bool) -> Row:
    floor, floor_p99 = rounds.median("floor", p50), rounds.median("floor", p99)
    mine, mine_p99 = rounds.median("runtime", p50), rounds.median("runtime", p99)
    return Row(
        rate=rate, floor_us=floor, floor_p99_us=floor_p99, p50_us=mine, p99_us=mine_p99,
        p999_us=rounds.median("runtime", p999), ratio_p50=mine / floor, ratio_p99=mine_p99 / floor_p99,
        p99_over_floor=mine_p99 / floor, infer_us=rounds.median("runtime", lambda window: window.notes["infer_us"]),
        sent=int(rounds.total("runtime", lambda window: window.sent)),
        dropped=int(rounds.total("runtime", lambda window: window.dropped)),
        lost=int(rounds.total("runtime", lambda window: window.lost)),
        windows=len(rounds.kept), steal_windows_dropped=rounds.spoilt, worst_steal=rounds.worst_steal,
        realtime=realtime,
    )  # fmt: skip


@dataclass(frozen=True)
class Saturation:
    """How many frames a second one lane answers, and how many one core could at most; medians over the windows."""

    fps: float
    bare_fps: float
    share: float
    dropped: int
    lost: int
    windows: int
    spoilt: int
    curve: tuple[tuple[int, float], ...]


def _saturation(line: Line, windows: int, seconds: float, progress: Progress) -> Saturation:
    task = progress.add_task("saturation", total=windows + len(CURVE))
    line.saturated(IN_FLIGHT, seconds / 2)
    rounds = interleave(
        {"bare": lambda: line.bare(seconds / 2), "runtime": lambda: line.saturated(IN_FLIGHT, seconds)},
        windows, lambda: progress.advance(task),
    )  # fmt: skip
    curve = []
    for in_flight in CURVE:
        curve.append((in_flight, line.saturated(in_flight, seconds / 2).per_second))
        progress.advance(task)
    return Saturation(
        fps=rounds.median("runtime", per_second), bare_fps=rounds.median("bare", per_second),
        share=rounds.ratio("runtime", "bare", per_second),
        dropped=int(rounds.total("runtime", lambda window: window.dropped)),
        lost=int(rounds.total("runtime", lambda window: window.lost)), windows=len(rounds.kept), spoilt=rounds.spoilt,
        curve=tuple(curve),
    )  # fmt: skip


def _table(rows: list[Row], targets: shown.Targets) -> Table:
    table = Table(title="frame published -> result received, medians over windows", title_justify="left")
    table.add_column("microseconds")
    for row in rows:
        table.add_column(f"{row.rate:g} frames/s", justify="right")

    def p50_cell(row: Row) -> str:
        what = f"{row.rate:g} frames/s: p50 over floor, at most {P50_TARGET:g}"
        return targets.cell(what, f"{row.ratio_p50:.2f}", row.ratio_p50 <= P50_TARGET)

    def p99_cell(row: Row) -> str:
        what = f"{row.rate:g} frames/s: p99 over floor p50, at most {P99_TARGET:g}"
        return targets.cell(what, f"{row.p99_over_floor:.2f}", row.p99_over_floor <= P99_TARGET)

    figures = {
        "floor p50": lambda row: f"{row.floor_us:.0f}",
        "p50": lambda row: f"{row.p50_us:.0f}",
        f"p50 over floor (target {P50_TARGET:g})": p50_cell,
        "floor p99": lambda row: f"{row.floor_p99_us:.0f}",
        "p99": lambda row: f"{row.p99_us:.0f}",
        f"p99 over floor p50 (target {P99_TARGET:g})": p99_cell,
        "p99.9": lambda row: f"{row.p999_us:.0f}",
        "one run of the model": lambda row: f"{row.infer_us:.0f}",
        "frames dropped, lost": lambda row: f"{row.dropped}, {row.lost} of {row.sent}",
        "windows, spoilt by steal": lambda row: f"{row.windows}, {row.steal_windows_dropped}",
    }
    for name, figure in figures.items():
        table.add_row(name, *(figure(row) for row in rows))
    return table


def _saturation_table(found: Saturation, targets: shown.Targets) -> Table:
    table = Table(title=f"saturation: {IN_FLIGHT} frames in flight on one lane", title_justify="left")
    table.add_column("frames/s")
    table.add_column("", justify="right")
    fps = targets.cell(f"saturation, at least {FPS_TARGET:g}", f"{found.fps:.0f}", found.fps >= FPS_TARGET)
    share = targets.cell(
        f"share of what one core could do, at least {SHARE_TARGET:.0%}", f"{found.share:.0%}",
        found.share >= SHARE_TARGET,
    )  # fmt: skip
    table.add_row(f"the runtime (target {FPS_TARGET:g})", fps)
    table.add_row("one core: decode, model, two writes", f"{found.bare_fps:.0f}")
    table.add_row(f"share of it (target {SHARE_TARGET:.0%})", share)
    table.add_row("frames dropped, lost", f"{found.dropped}, {found.lost}")
    table.add_row("windows, spoilt by steal", f"{found.windows}, {found.spoilt}")
    return table


def _measure(
    line: Line, told: argparse.Namespace, console: Console
) -> tuple[list[Row], dict[float, Rounds], Saturation]:
    rows, taken = [], {}
    with Progress(console=console) as progress:
        for rate in told.rates:
            task = progress.add_task(f"{rate:g} frames/s", total=told.windows)
            taken[rate] = interleave(
                {
                    "floor": lambda rate=rate: line.paced(floor=True, rate=rate, seconds=told.seconds),
                    "runtime": lambda rate=rate: line.paced(floor=False, rate=rate, seconds=told.seconds),
                },
                told.windows, lambda task=task: progress.advance(task),
            )  # fmt: skip
            rows.append(_row(rate, taken[rate], line.realtime))
        return rows, taken, _saturation(line, told.windows, told.seconds, progress)


def _draw(taken: dict[float, Rounds], saturation: Saturation, published: bool, console: Console) -> None:
    lines = {}
    for rate, rounds in taken.items():
        for name in ("floor", "runtime"):
            lines[f"{name}, {rate:g} frames/s"] = rounds.all_us(name)
    shown.plot_latencies("e2e-latency", "frame published -> result received", lines, published, console)
    curves = {"runtime": saturation.curve, "one core, model and writes": [(n, saturation.bare_fps) for n in CURVE]}
    shown.plot_throughput(
        "e2e-throughput",
        "one lane, 64x64x3 frames",
        curves,
        published,
        console,
        "frames in flight",
        "frames per second",
    )


def main() -> int:
    """Measure; the exit status is 1 if a target is missed."""
    parser = shown.arguments("e2e", __doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[200.0, 1000.0], help="frames per second")
    parser.add_argument("--windows", type=int, default=7, help="clean pairs of windows per rate")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    parser.add_argument("--instances", type=int, default=2, help="batches of the pipeline that run side by side")
    told = parser.parse_args()
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="plantedge-bench-"))
    device = Device(folder, USERS)
    device.add("device.toml", f"{PIPELINE}instances = {told.instances}\n")
    model = write_classifier(device.home / "models", shape=SHAPE, deep=True, warm=WARM)
    try:
        line = Line(device, model)
        try:
            rows, taken, saturation = _measure(line, told, console)
        finally:
            line.close()
    finally:
        device.stop()
        shutil.rmtree(folder, ignore_errors=True)
    targets = shown.Targets()
    console.print(_table(rows, targets))
    console.print(_saturation_table(saturation, targets))
    console.print("real-time class: " + ("broker and runtime" if rows[0].realtime else "not permitted here"))
    _draw(taken, saturation, told.plots, console)
    targets.say(console)
    full = {f"saturation_{name}": getattr(saturation, name) for name in ("fps", "share", "bare_fps")}
    shown.finish([asdict(row) | full for row in rows])
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
