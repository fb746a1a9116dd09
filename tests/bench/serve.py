"""The same model served by us and by others: requests a second and latency, with 1 and with 16 in flight.

Ours: a frame published is a request, its result over MQTT the answer; the runtime decides, stamps, and publishes with
QoS 1 besides. The others get the same pictures in their own best form (tests/bench/peer_servers.py), a client that is
as fast, and the same scheduling class; windows of ours and of each take turns. What can't be had here is named with
its reason. The last line is JSON.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench import line, peer_servers, shown
from tests.bench.duel import LOADS, Duel, Side, Truth, figures
from tests.bench.machine import real_time
from tests.bench.peer_install import Absent
from tests.bench.peer_servers import NODE, PEER_ROWS, PYTHON, Ground, Peer
from tests.bench.windows import Rounds, until
from tests.device import Device
from tests.edge.small_models import write_classifier

CURVE = (1, 2, 4, 8, 16)
# At least so many times our peers' requests a second, and at most so many times their p99.
TARGETS = {PYTHON: (3.0, 1 / 3), NODE: (1.2, 1.0)}


@dataclass
class Outcome:
    """What became of one peer."""

    peer: Peer
    rounds: Rounds | None = None
    ordinary: Rounds | None = None  # in the default class
    curve: list[tuple[int, float]] = field(default_factory=list)
    reason: str = ""

    def ratio(self, figure: str, rounds: Rounds) -> float:
        """Return ours divided by theirs."""
        return float(figures(rounds, "ours")[figure] / figures(rounds, "peer")[figure])


class Bench:
    """Our device with its runtime, its client, and the ground that the peers are given."""

    def __init__(self, folder: Path, console: Console) -> None:
        """Start broker, runtime and client, and wait for the first results."""
        self.device = Device(folder, (*line.USERS, *peer_servers.USERS))
        self.device.add("device.toml", f"{line.PIPELINE}instances = 2\n")  # as the peers may have two workers
        models = self.device.home / "models"
        model = write_classifier(models, shape=line.SHAPE, deep=True, warm=line.WARM) / "model.onnx"
        images = folder / "images.npy"
        np.save(images, line.draw_images())
        self.ground = Ground(model, images, folder, self.device, console)
        self.device.start_broker()
        self._runtime = self.device.start("runtime@safety")
        self.ours = Side("ours", lambda: [self._runtime.pid], line.mqtt_client(self.device, images))
        self.realtime = real_time(self.device.broker.pid, line.FIFO["broker"])
        self.truth = Truth(model, images)
        until(self._serves, 60, "the runtime gave no results")

    def _serves(self) -> bool:
        window, _ = self.ours.client.window(1, 0.2)
        return len(window.us) > 0 and not window.dropped

    def meet(self, peer: Peer, told: argparse.Namespace, progress: Progress) -> Outcome:
        """Start a peer, measure it and us, and end it."""
        outcome = Outcome(peer)
        rounds = told.windows + (told.ordinary if self.realtime else 0)
        task = progress.add_task(peer.name, total=rounds + len(CURVE))
        try:
            server = peer.start(self.ground)
            try:
                self._measure(outcome, Duel(self.ours, Side(peer.name, server.family, server.client), self.truth), told,
                              lambda: progress.advance(task))  # fmt: skip
            finally:
                server.close()
        except (Absent, RuntimeError, OSError) as error:
            outcome.reason = str(error)
        progress.update(task, completed=rounds + len(CURVE))
        return outcome

    def _measure(self, outcome: Outcome, duel: Duel, told: argparse.Namespace, advance: Any) -> None:
        duel.warm(told.seconds / 2)
        if self.realtime and told.ordinary:
            real_time(self.device.broker.pid, 0)
            ordinary = duel.fight(told.ordinary, told.seconds / 2, False, advance)
            real_time(self.device.broker.pid, line.FIFO["broker"])
            outcome.ordinary = ordinary
        rounds = duel.fight(told.windows, told.seconds, self.realtime, advance)
        for in_flight in CURVE:
            outcome.curve += duel.curve("peer", (in_flight,), told.seconds / 2)
            advance()
        outcome.rounds = rounds

    def curve(self, seconds: float) -> list[tuple[int, float]]:
        """Return our own answers a second by requests in flight."""
        return [(n, self.ours.client.window(n, seconds)[0].per_second) for n in CURVE]

    def close(self) -> None:
        """End everything."""
        self.ours.client.close()
        self.device.stop()


def _cells(found: Any, in_flight: int) -> list[str]:
    c = f"c{in_flight}"
    return [f"{found[f'{c}_rps']:.0f}", *(f"{found[f'{c}_{p}_ms']:.2f}" for p in ("p50", "p99", "p999"))]


def _table(outcomes: list[Outcome], in_flight: int, targets: shown.Targets) -> Table:
    table = Table(
        title=f"{in_flight} in flight: medians over windows, milliseconds; x: ours / theirs", title_justify="left"
    )
    for name in ("", "req/s", "p50", "p99", "p99.9", "x req/s", "x p99"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=not name)
    measured = [outcome.rounds for outcome in outcomes if outcome.rounds]
    if measured:
        table.add_row("PlantEdge", *_cells(figures(sum(measured[1:], measured[0]), "ours"), in_flight), "", "")
    for outcome in outcomes:
        if outcome.rounds is None:
            continue
        rps, p99 = (outcome.ratio(f"c{in_flight}_{name}", outcome.rounds) for name in ("rps", "p99_ms"))
        least, most = TARGETS[outcome.peer.kind]
        what = f"{outcome.peer.name}, {in_flight} in flight"
        table.add_row(
            outcome.peer.name, *_cells(figures(outcome.rounds, "peer"), in_flight),
            targets.cell(f"{what}: requests/s at least {least:g} times theirs", f"{rps:.2f}", rps >= least),
            targets.cell(f"{what}: p99 at most {most:.2g} times theirs", f"{p99:.2f}", p99 <= most),
        )  # fmt: skip
    return table


def _ordinary_table(outcomes: list[Outcome]) -> Table:
    table = Table(title="without the real-time class: ours, theirs with 1 and 16 in flight", title_justify="left")
    for name in ("", *(f"{n}: {what}" for n in LOADS for what in ("req/s", "p99 ms"))):
        table.add_column(name, justify="left" if not name else "right", no_wrap=not name)
    for outcome in outcomes:
        if outcome.ordinary is None:
            continue
        ours, theirs = figures(outcome.ordinary, "ours"), figures(outcome.ordinary, "peer")
        cells = []
        for n in LOADS:
            cells.append(f"{ours[f'c{n}_rps']:.0f}, {theirs[f'c{n}_rps']:.0f}")
            cells.append(f"{ours[f'c{n}_p99_ms']:.2f}, {theirs[f'c{n}_p99_ms']:.2f}")
        table.add_row(outcome.peer.name, *cells)
    return table


def _json(outcomes: list[Outcome], realtime: bool) -> dict[str, Any]:
    measured = [outcome.rounds for outcome in outcomes if outcome.rounds]
    peers: dict[str, Any] = {}
    for outcome in outcomes:
        if outcome.rounds is None:
            peers[outcome.peer.name] = {"reason": outcome.reason}
            continue
        ratios = {
            f"{figure}_ratio": outcome.ratio(figure, outcome.rounds)
            for n in LOADS
            for figure in (f"c{n}_rps", f"c{n}_p99_ms")
        }
        peers[outcome.peer.name] = {
            **figures(outcome.rounds, "peer"), **ratios, "windows": len(outcome.rounds.kept),
            "steal_windows_dropped": outcome.rounds.spoilt, "worst_steal": outcome.rounds.worst_steal,
        }  # fmt: skip
        if outcome.ordinary:
            peers[outcome.peer.name]["default_class"] = {
                who: figures(outcome.ordinary, name) for who, name in (("ours", "ours"), ("theirs", "peer"))
            }
    ours = figures(sum(measured[1:], measured[0]), "ours") if measured else {}
    return {"ours": ours, "peers": peers, "realtime": realtime}


def _draw(outcomes: list[Outcome], mine: list[tuple[int, float]], published: bool, console: Console) -> None:
    measured = {outcome.peer.name: outcome for outcome in outcomes if outcome.rounds}
    if not measured:
        return
    every = [outcome.rounds for outcome in measured.values() if outcome.rounds]
    for n in LOADS:
        lines = {"PlantEdge": sum(every[1:], every[0]).all_us(f"ours {n}")}
        lines |= {name: outcome.rounds.all_us(f"peer {n}") for name, outcome in measured.items() if outcome.rounds}
        shown.plot_latencies(f"serve-latency-{n}", f"request -> answer, {n} in flight", lines, published, console)
    curves = {"PlantEdge": mine} | {name: outcome.curve for name, outcome in measured.items()}
    shown.plot_throughput("serve-throughput", "the same model, 64x64x3", curves, published, console)


def _print(outcomes: list[Outcome], realtime: bool, console: Console) -> shown.Targets:
    targets = shown.Targets()
    for n in LOADS:
        console.print(_table(outcomes, n, targets))
    if any(outcome.ordinary for outcome in outcomes):
        console.print(_ordinary_table(outcomes))
    for outcome in outcomes:
        if outcome.reason:
            console.print(f"[red]not run[/] {outcome.peer.name}: {outcome.reason}", markup=True, highlight=False)
            targets.missed.append(f"{outcome.peer.name}: not run here")
        elif outcome.rounds and outcome.rounds.spoilt:
            console.print(f"{outcome.peer.name}: {outcome.rounds.spoilt} rounds spoilt by steal, dropped")
    alike = "the real-time class for the broker, for ours and for theirs alike"
    console.print(
        "scheduling: " + (alike if realtime else "the default class for all; real time is not permitted here")
    )
    return targets


def main() -> int:
    """Measure; the exit status is 1 if a target is missed or a peer could not be run."""
    parser = shown.arguments("serve", __doc__)
    parser.add_argument("--windows", type=int, default=5, help="clean rounds of windows for each peer")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    parser.add_argument("--ordinary", type=int, default=3, help="rounds without the real-time class; 0 for none")
    parser.add_argument("--peers", nargs="+", metavar="NAME", default=[], help="only those whose names begin so")
    told = parser.parse_args()
    console = Console(stderr=True)
    begins = tuple(name.lower() for name in told.peers) or ("",)
    wanted = [row for row in PEER_ROWS if row.name.lower().startswith(begins)]
    if not wanted:
        parser.error(f"there is no such peer: {', '.join(row.name for row in PEER_ROWS)}")
    folder = Path(tempfile.mkdtemp(prefix="plantedge-bench-"))
    bench = Bench(folder, console)
    try:
        with Progress(console=console) as progress:
            outcomes = [bench.meet(peer, told, progress) for peer in wanted]
        mine = bench.curve(told.seconds / 2)
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)
    targets = _print(outcomes, bench.realtime, console)
    _draw(outcomes, mine, told.plots, console)
    targets.say(console)
    shown.finish(_json(outcomes, bench.realtime))
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
