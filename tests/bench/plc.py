"""The PLC connectors: what a scan costs beside the bare library, and how well sources are kept apart.

scan       a connector as connect uses it beside the bare library, the same requests, windows of both in turns
isolation  how exactly three sources keep their period while a fourth one's PLC is cut, slow, garbled or killed
rates      tags a second from a PLC to `raw`, and changes a second from a PLC to an OPC UA client
failsafe   from a fault to the fail-safe value in the PLC, the worst of many cuts by case

Without a section all are measured. The last line is JSON; the exit status is 1 if a target is missed.
"""

import argparse
import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench import plc_isolation, plc_rates, plc_scan, shown
from tests.bench.plc_isolation import PERIOD_MS, STATES, Isolated
from tests.bench.plc_players import FAULTS
from tests.bench.plc_rates import Rate
from tests.bench.plc_scan import Scanned
from tests.bench.windows import p50, p99, p999

SCAN_TARGET: Final = 1.3  # times the floor's p50
JITTER_TARGET: Final = 1.1  # times the quiet windows' p99
FAILSAFE_TARGET_MS: Final = 1000.0
FAILSAFE: Final = "tests.bench.plc_failsafe"


@dataclass(frozen=True)
class Bench:
    """What all sections need."""

    told: argparse.Namespace
    console: Console
    targets: shown.Targets
    folder: Path


# -- scan --------------------------------------------------------------------------------------------------------------


def scan(bench: Bench) -> dict[str, Any]:
    """Measure each match whose library and peer are there."""
    told, found = bench.told, dict[str, Scanned]()
    with Progress(console=bench.console) as progress:
        for path, make in plc_scan.matches().items():
            task = progress.add_task(f"scan: {path}", total=told.windows)
            try:
                with make() as match:
                    found[path] = match.fight(told.windows, told.seconds, lambda task=task: progress.advance(task))
            except pytest.skip.Exception as reason:
                progress.console.print(f"[yellow]not measured[/] {path}: {reason}")
    bench.console.print(_scan_table(found, bench.targets))
    _draw_scans(found, bench)
    return nested({path: one.figures for path, one in found.items()})


def nested(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return "modbus 100" as {"modbus": {"100": ...}}."""
    whole: dict[str, Any] = {}
    for path, held in figures.items():
        group, _, name = path.partition(" ")
        if name:
            whole.setdefault(group, {})[name] = held
        else:
            whole[group] = held
    return whole


def _scan_table(found: Mapping[str, Scanned], targets: shown.Targets) -> Table:
    table = Table(title="one scan, milliseconds, medians over windows", title_justify="left")
    for column in ("", "bare p50", "p50", f"ratio ({SCAN_TARGET:g})", "bare p99", "p99", "p99.9", "steal"):
        table.add_column(column, justify="right" if column else "left")
    for one in found.values():
        for floor in one.floors:
            ratio, rounds = one.ratio(floor), one.rounds
            what = f"{one.name}, p50 over {floor}, at most {SCAN_TARGET:g}"
            table.add_row(
                one.name if len(one.floors) == 1 else f"{one.name}, {floor}",
                f"{rounds.median(floor, p50) / 1e3:.2f}", f"{rounds.median('ours', p50) / 1e3:.2f}",
                targets.cell(what, f"{ratio:.2f}", ratio <= SCAN_TARGET),
                *(f"{rounds.median(side, figure) / 1e3:.1f}"
                  for side, figure in ((floor, p99), ("ours", p99), ("ours", p999))),
                f"{max(one.steal):.0%}",
            )  # fmt: skip
    return table


def _draw_scans(found: Mapping[str, Scanned], bench: Bench) -> None:
    """Draw each match in a colour of its own: the connector's line is whole, the bare library's broken."""
    figure, axes = shown.axes_of("one scan: connector (line), bare library (dashes)", "ms", "share that took longer")
    for number, one in enumerate(found.values()):
        for side, style in (("ours", "-"), (one.floors[0], "--")):
            times = one.rounds.all_us(side) / 1e3
            share = 1 - np.arange(len(times)) / len(times)
            axes.plot(times, share, style, color=f"C{number}", label=one.name if side == "ours" else None)
    axes.set(xscale="log", yscale="log", ylim=(1e-3, 1.1))
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    shown.saved(figure, "plc-scan", bench.told.plots, bench.console)


# -- isolation ---------------------------------------------------------------------------------------------------------


def isolation(bench: Bench) -> dict[str, Any]:
    """Measure the healthy sources' jitter in each state of the other one."""
    told = bench.told
    with Progress(console=bench.console) as progress:
        task = progress.add_task("isolation", total=told.rounds)
        found = plc_isolation.measure(bench.folder, told.rounds, told.length, lambda: progress.advance(task))
    bench.console.print(_isolation_table(found, bench.targets))
    noise = "two quiet windows of a round differ by a factor of"
    bench.console.print(f"{noise} {found.noise(50):.2f} at p50, {found.noise(99):.2f} at p99 (medians)")
    kind = "real-time class for broker, connect and PLCs" if found.realtime else "default class for all"
    bench.console.print(f"scheduling: {kind}")
    lines = {state: found.rounds.all_us(state) for state in STATES}
    title = f"a healthy source's scan begins after its point of the {PERIOD_MS:g} ms grid"
    shown.plot_latencies("plc-isolation", title, lines, told.plots, bench.console)
    return found.figures


def _isolation_table(found: Isolated, targets: shown.Targets) -> Table:
    title = f"jitter of {PERIOD_MS:g} ms groups of healthy sources, microseconds, medians over rounds"
    table = Table(title=title, title_justify="left")
    target = f"ratio ({JITTER_TARGET:g})"
    for column in ("PLC is", "p50", "ratio", "p99", target, "of the period", "left out", "core"):
        table.add_column(column, justify="right" if table.columns else "left")
    for state in STATES:
        ratio = found.ratio(state, 99)
        cell = f"{ratio:.2f}"
        if state in FAULTS:
            cell = targets.cell(f"jitter p99 while {state}, over quiet", cell, ratio < JITTER_TARGET)
        table.add_row(
            state, f"{found.us(state, 50):.0f}", f"{found.ratio(state, 50):.2f}", f"{found.us(state, 99):.0f}", cell,
            f"{found.us(state, 99) / PERIOD_MS / 10:.2f}%", str(found.lost(state)), f"{found.busy(state):.0%}",
        )  # fmt: skip
    return table


# -- rates -------------------------------------------------------------------------------------------------------------


def rates(bench: Bench) -> dict[str, Any]:
    """Measure what gets through to `raw` and to OPC UA."""
    with Progress(console=bench.console) as progress:
        total = len(plc_rates.PERIODS_MS) + len(plc_rates.SUBSCRIBED)
        task = progress.add_task("rates", total=total)
        step = lambda: progress.advance(task)  # noqa: E731 - it is handed on twice
        raw = plc_rates.to_raw(bench.folder, bench.told.length, step)
        opcua = plc_rates.to_opcua(bench.folder, bench.told.length, step)
    table = Table(title="through real processes, a second", title_justify="left")
    for column in ("", "asked", "came", "of a core"):
        table.add_column(column, justify="right" if column else "left")
    for what, found in (("tags to raw (connect)", raw), ("changes to an OPC UA client (opcua)", opcua)):
        for rate in found:
            table.add_row(what, f"{rate.asked:,.0f}", f"{rate.came:,.0f}", f"{rate.busy:.0%}")
    bench.console.print(table)
    return {
        "raw_tags_per_s": _most(raw), "opcua_changes_per_s": _most(opcua),
        "raw": [asdict(rate) for rate in raw], "opcua": [asdict(rate) for rate in opcua],
    }  # fmt: skip


def _most(found: list[Rate]) -> float:
    return max(rate.came for rate in found)


# -- failsafe ----------------------------------------------------------------------------------------------------------


def failsafe(bench: Bench) -> dict[str, Any]:
    """Measure the worst time from a fault to the fail-safe, by case."""
    if importlib.util.find_spec(FAILSAFE) is None:
        bench.console.print(f"[yellow]not measured[/] failsafe: there is no {FAILSAFE}")
        return {"failsafe_worst_ms": {}}
    measure: Callable[[int, Progress], dict[str, float]] = importlib.import_module(FAILSAFE).measure
    with Progress(console=bench.console) as progress:
        worst = measure(bench.told.cuts, progress)
    table = Table(title=f"fail-safe in the PLC after a fault, the worst of {bench.told.cuts}", title_justify="left")
    table.add_column("fault")
    table.add_column("ms", justify="right")
    for case, worst_ms in worst.items():
        what = f"fail-safe after {case}, at most {FAILSAFE_TARGET_MS:g} ms"
        table.add_row(case, bench.targets.cell(what, f"{worst_ms:.0f}", worst_ms <= FAILSAFE_TARGET_MS))
    bench.console.print(table)
    return {"failsafe_worst_ms": worst}


SECTIONS: Final[dict[str, Callable[[Bench], dict[str, Any]]]] = {
    "scan": scan, "isolation": isolation, "rates": rates, "failsafe": failsafe,
}  # fmt: skip


def main() -> int:
    """Measure; the exit status is 1 if a target is missed."""
    parser = shown.arguments("plc", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--windows", type=int, default=7, help="scan: clean windows of each side")
    parser.add_argument("--seconds", type=float, default=1.0, help="scan: length of a window")
    parser.add_argument("--rounds", type=int, default=7, help="isolation: clean rounds of all states")
    parser.add_argument("--length", type=float, default=4.0, help="isolation and rates: length of a window in seconds")
    parser.add_argument("--cuts", type=int, default=5, help="failsafe: faults of each case")
    told = parser.parse_args()
    console, figures = Console(stderr=True), dict[str, Any]()
    targets = shown.Targets()
    with tempfile.TemporaryDirectory(prefix="plantedge-bench-") as folder:
        for name in told.sections or SECTIONS:
            figures |= SECTIONS[name](Bench(told, console, targets, Path(folder)))
    targets.say(console)
    shown.finish(figures)
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
