"""The whole device at work: memory and CPU of each of its processes under `plantedge up`.

It is the demo's device with every process, at 200 parts a second and 500 tags a second: its tag list is filled up with
tags that are read once a second. Its plant and its fleet service run beside it and are not counted, nor is the
supervisor, which is systemd's part on a device. Memory is the resident set, whose shared pages count in every process
that maps them, and the proportional set, which shares them out. The last line is JSON.
"""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bus.hot import HotBus
from bus.typed import Reader
from edge.line.demo import SHIPPED
from edge.process import broker_address
from edge.settings import load_settings
from edge.supervision.run_state import ChildState, read_state
from schemas.messages import Outcome, Reading, Result
from schemas.topics import READING, RESULT
from tests.bench import shown
from tests.bench.machine import steal_and_all, steal_share
from tests.bench.windows import STEAL_LIMIT, until

RSS_TARGET_MB = 600.0
TAGS_PER_S = 500
READY_S, SETTLE_S = 180.0, 15.0
BESIDE = ("plant", "fleet", "influx")  # what `up` starts besides the device
# `plantedge up` copies the example that it ships; here it is another one.
UP = """
import sys
from pathlib import Path
from edge.line import demo
demo.SHIPPED = Path(sys.argv.pop(1))
from edge.cli import main
sys.exit(main())
"""


@dataclass
class Usage:
    """One process: what it held at each look, and how busy it was."""

    rss_mb: list[float] = field(default_factory=list)
    pss_mb: float = 0.0
    threads: int = 0
    cpu_share: float = 0.0
    restarts: int = 0
    realtime: bool = False


@dataclass
class Traffic:
    """What was on the bus meanwhile."""

    parts: int = 0
    dropped: int = 0
    late: int = 0
    tags: int = 0
    begun_s: float = 0.0

    def result(self, result: Result) -> None:
        """Count one part."""
        if result.pipeline == "cap_inspection":
            self.parts += 1
            self.dropped += result.outcome is Outcome.DROPPED
            self.late += result.outcome is Outcome.LATE

    def reading(self, reading: Reading) -> None:
        """Count its tags."""
        self.tags += len(reading.tags)


def _example(folder: Path) -> Path:
    """Copy the shipped example, with as many tags as are wanted."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("__pycache__"))
    settings = folder / "device.toml"
    text = settings.read_text()
    groups = "groups = { fast = 20, process = 100 }"
    if groups not in text:
        raise RuntimeError(f"{settings}: not the groups that this benchmark fills up ({groups})")
    settings.write_text(text.replace(groups, "groups = { fast = 20, process = 100, slow = 1000 }"))
    tags = folder / "tags" / "plant.csv"
    rows = [line for line in tags.read_text().splitlines() if line and not line.startswith(("#", "name,"))]
    now = sum({"fast": 50, "process": 10}[row.split(",")[4]] for row in rows)
    more = [f"Drive.Temperature{n},ir:{2 + n % 2},int16,r,slow,0.1" for n in range(TAGS_PER_S - now)]
    tags.write_text("\n".join([tags.read_text().rstrip(), *more, ""]))
    return folder


class Line:
    """`plantedge up` in a folder of its own."""

    def __init__(self, work: Path, parts_per_s: float) -> None:
        """Start it."""
        self.work, self.home = work, work / "demo" / "device"
        self._log = work / "up.txt"
        argv = [sys.executable, "-P", "-c", UP, str(_example(work / "example")), "up", "--plain", "--parts-per-s",
                str(parts_per_s)]  # fmt: skip
        # An installed device has its bytecode; what compiles at its start holds the compiler's memory from then on.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self._log.open("wb") as said:
            self._up = subprocess.Popen(
                argv, env=env | {"PLANTEDGE_DIR": str(work)}, stdout=said, stderr=subprocess.STDOUT
            )

    def wait(self) -> None:
        """Wait until it is ready."""
        until(self._ready, READY_S, "the device is not ready")

    def _ready(self) -> bool:
        if self._up.poll() is not None:
            raise RuntimeError(f"plantedge up ended:\n{self._log.read_text()[-2000:]}")
        state = read_state(self.work)
        return state is not None and state.ready_s is not None

    def children(self) -> Iterator[ChildState]:
        """Return the device's own processes."""
        state = read_state(self.work)
        for child in state.children if state else ():
            if child.name not in BESIDE:
                yield child

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self._up.send_signal(signal.SIGTERM)
        try:
            self._up.wait(30)
        except subprocess.TimeoutExpired:
            self._up.kill()
            self._up.wait(10)


def _pss_mb(pid: int) -> float:
    """Return the proportional set of a process: proc(5), smaps_rollup."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


async def _watch(line: Line, seconds: float, progress: Progress) -> tuple[dict[str, Usage], Traffic, float, float]:
    """Look at the processes each second; return them, the traffic, the seconds, and the stolen share."""
    settings, traffic = load_settings(line.home), Traffic()
    async with HotBus(broker_address(settings, line.home, "cli"), "bench-device") as bus:
        await Reader(RESULT, Result, lambda result, _: traffic.result(result)).attach(bus, settings.place)
        await Reader(READING, Reading, lambda reading, _: traffic.reading(reading)).attach(bus, settings.place)
        await asyncio.sleep(SETTLE_S)
        found, before = {child.name: Usage() for child in line.children()}, _cpu_s(line)
        counted, steal, begin = (traffic.parts, traffic.tags), steal_and_all(), time.monotonic()
        task = progress.add_task("at work", total=int(seconds))
        while time.monotonic() < begin + seconds:
            await asyncio.sleep(1.0)
            for child in line.children():
                found[child.name].rss_mb.append(psutil.Process(child.pid).memory_info().rss / 1e6)
            progress.advance(task)
        took_s, stolen = time.monotonic() - begin, steal_share(steal)
        traffic.parts, traffic.tags = traffic.parts - counted[0], traffic.tags - counted[1]
        after = _cpu_s(line)
    for child in line.children():
        usage = found[child.name]
        usage.cpu_share = (after[child.pid] - before.get(child.pid, 0.0)) / took_s
        usage.pss_mb, usage.threads = _pss_mb(child.pid), psutil.Process(child.pid).num_threads()
        usage.restarts, usage.realtime = child.restarts, bool(child.realtime)
    return found, traffic, took_s, stolen


def _cpu_s(line: Line) -> dict[int, float]:
    return {child.pid: sum(psutil.Process(child.pid).cpu_times()[:2]) for child in line.children()}


def _table(found: dict[str, Usage], targets: shown.Targets) -> Table:
    table = Table(title="the device's processes at work", title_justify="left")
    for name in ("", "RSS MB", "PSS MB", "CPU of a core", "threads", "real time"):
        table.add_column(name, justify="left" if not name else "right")
    for name, usage in sorted(found.items(), key=lambda item: -max(item[1].rss_mb)):
        table.add_row(
            name + (f" ({usage.restarts} restarts)" if usage.restarts else ""), f"{max(usage.rss_mb):.0f}",
            f"{usage.pss_mb:.0f}", f"{usage.cpu_share:.1%}", str(usage.threads), "yes" if usage.realtime else "",
        )  # fmt: skip
    rss = sum(max(usage.rss_mb) for usage in found.values())
    total = targets.cell(f"RSS of all, at most {RSS_TARGET_MB:g} MB", f"{rss:.0f}", rss <= RSS_TARGET_MB)
    table.add_section()
    table.add_row(
        f"all (target {RSS_TARGET_MB:g} MB)", total, f"{sum(usage.pss_mb for usage in found.values()):.0f}",
        f"{sum(usage.cpu_share for usage in found.values()):.1%}",
    )  # fmt: skip
    return table


def main() -> int:
    """Measure; the exit status is 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="./run bench device", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look")
    parser.add_argument("--parts-per-s", type=float, default=200.0, help="frames of the inspection a second")
    told = parser.parse_args()
    console = Console(stderr=True)
    work = Path(tempfile.mkdtemp(prefix="plantedge-bench-"))
    line = Line(work, told.parts_per_s)
    try:
        with console.status("starting the device"):
            line.wait()
        with Progress(console=console) as progress:
            found, traffic, took_s, stolen = asyncio.run(_watch(line, told.seconds, progress))
    finally:
        line.stop()
        shutil.rmtree(work, ignore_errors=True)
    targets = shown.Targets()
    console.print(_table(found, targets))
    console.print(f"{traffic.parts / took_s:.0f} parts/s ({traffic.late} late, {traffic.dropped} dropped) and"
                  f" {traffic.tags / took_s:.0f} tags/s for {took_s:.0f} s; {stolen:.1%} stolen"
                  f"{', more than a window may lose' if stolen > STEAL_LIMIT else ''}")  # fmt: skip
    targets.say(console)
    shown.finish({
        "rss_mb": {name: max(usage.rss_mb) for name, usage in found.items()},
        "pss_mb": {name: usage.pss_mb for name, usage in found.items()},
        "cpu_share": {name: usage.cpu_share for name, usage in found.items()},
        "rss_total_mb": sum(max(usage.rss_mb) for usage in found.values()),
        "pss_total_mb": sum(usage.pss_mb for usage in found.values()),
        "cpu_total_share": sum(usage.cpu_share for usage in found.values()),
        "frames_per_s": traffic.parts / took_s, "tags_per_s": traffic.tags / took_s, "seconds": took_s,
        "steal": stolen,
    })  # fmt: skip
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
