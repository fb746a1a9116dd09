"""From a fault to the fail-safe in the PLC: each process, the broker, all at once and the cable, killed and hung.

A device with its real broker and processes inspects the parts of a simulated PLC, which is a process of its own and has
its own watchdog. Each fault is injected so many times; the PLC says since when it stands at its fail-safe, by the
device's write or by its watchdog. Held to in each cut: it stays so after the fault is mended until the operator presses
the reset, and no part passes without an OK that the runtime had given it in time. The last line is JSON, worst ms.
"""

import asyncio
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench import shown
from tests.plc_faults import FAULTS, Cuts
from tests.plc_line import PlcLine

TARGET_MS = 1000.0


async def _run(
    cuts: int, progress: Progress, names: Sequence[str], within_s: float, line: PlcLine
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with line.running():
        bench = Cuts(line)
        await bench.cut(FAULTS["connect_hung"])  # everything has been loaded and run once
        for name in names:
            task = progress.add_task(name.replace("_", " "), total=cuts)
            line.load_spares(*FAULTS[name].killed)
            found[name] = []
            end = time.monotonic() + within_s / len(names)
            while len(found[name]) < cuts and (time.monotonic() < end or not found[name]):
                found[name].append((await bench.cut(FAULTS[name])).ms)
                progress.advance(task)
    return found


def run(
    cuts: int, progress: Progress, names: Sequence[str] = tuple(FAULTS), within_s: float = math.inf
) -> dict[str, list[float]]:
    """Return by fault the milliseconds until the PLC stood at its fail-safe, one for each cut; 0: it noticed nothing.

    There are fewer cuts where they would take longer than `within_s`, of which each fault has its share.

    Raises:
        RuntimeError: it was not held, see `Cuts.cut`.
    """
    folder = Path(tempfile.mkdtemp(prefix="plantedge-bench-"))
    try:
        return asyncio.run(_run(cuts, progress, names, within_s, PlcLine(folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(cuts: int, progress: Progress, names: Sequence[str] = tuple(FAULTS)) -> dict[str, float]:
    """Return by fault the worst of so many cuts in milliseconds, see `run`."""
    return {name: max(times) for name, times in run(cuts, progress, names).items()}


def _table(found: Mapping[str, Sequence[float]], targets: shown.Targets) -> Table:
    table = Table(title="from the fault to the fail-safe in the PLC, ms", title_justify="left")
    for column in ("", "cuts", "median", "worst"):
        table.add_column(column, justify="right" if column else "left")
    for name, times in found.items():
        most = TARGET_MS if FAULTS[name].trips else 0.0
        what = f"{name}, at most {most:g} ms"
        worst = targets.cell(what, f"{max(times):.0f}", max(times) <= most)
        table.add_row(name.replace("_", " "), str(len(times)), f"{np.median(times):.0f}", worst)
    return table


def main() -> int:
    """Measure; the exit status is 1 if a target is missed."""
    parser = shown.arguments("plc_failsafe", __doc__)
    parser.add_argument("--cuts", type=int, default=100, help="of each fault")
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS), metavar="FAULT",
                        help=f"some of {', '.join(FAULTS)}")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=math.inf, help="fewer cuts where they would take longer")
    told = parser.parse_args()
    console = Console(stderr=True)
    with Progress(console=console) as progress:
        found = run(told.cuts, progress, told.faults, told.seconds)
    targets = shown.Targets()
    console.print(_table(found, targets))
    targets.say(console)
    shown.finish({name: max(times) for name, times in found.items()})
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
