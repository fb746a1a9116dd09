"""A model reloaded again and again while frames come: what is lost, what is late, what it costs, what stays in memory.

Windows with reloads alternate with quiet ones in one run. A reload is the agent's word for the other of two versions
of one model (the same weights, so that only the reload differs), through the real runtime process and mosquitto; the
next is asked for once the runtime has said that it serves. Every frame must be answered once, by one of the two.

`late`: results after their deadline and frames that expired, in the windows with reloads. The memory's growth is the
resident set of the last tenth of all reloads less that of the second tenth: the first warms allocators and caches.
With `--self-tests` each reload is a self-test of the version that serves instead.
The last line is JSON.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bus import Address
from bus.codec import decode, encode
from schemas.messages import Outcome, Result, Slot
from schemas.topics import RESULT, SLOT_DESIRED, SLOT_STATE, Place
from tests.bench import shown
from tests.bench.line import FIFO, START_S
from tests.bench.machine import real_time
from tests.bench.players import Plan, publish_frames
from tests.bench.raw_mqtt import RawMqtt, payload_of
from tests.bench.self_tests import Done, Told, ask_for_tests, rss_mb
from tests.bench.windows import Rounds, Window, interleave, p50, p99
from tests.device import Device
from tests.edge.small_models import write_classifier

SHAPE = (64, 64, 3)
USERS = ("runtime-safety", "camera-cam1", "historian", "agent", "cli")
VERSIONS = ("1", "2")
DEADLINE_MS = 50
P99_TARGET, RSS_TARGET_MB = 2.0, 8.0
LOAD_S = 20.0
PIPELINE = f"""
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:1"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = {{ frames = "cam1" }}
deadline_ms = {DEADLINE_MS}
max_batch_size = 4
decision = {{ reject = ["bad"] }}
"""


def ask_reloads(pipe: Connection, address: Address, place: Place, models: Path, runtime_pid: int) -> None:
    """Play the agent: for each `Told` that comes through `pipe`, reload and tell what came of it."""
    link = RawMqtt(address, "bench-agent")
    link.subscribe(SLOT_STATE.filter(place))
    name, epoch, turn = SLOT_DESIRED.name(place, model="caps"), time.time_ns(), 0
    pipe.send("ready")
    while told := pipe.recv():
        start, done = time.monotonic(), []
        for number in range(told.reloads):
            time.sleep(max(0.0, start + (number + 0.5) * told.seconds / told.reloads - time.monotonic()))
            turn += 1
            version = VERSIONS[turn % len(VERSIONS)]
            slot = Slot(model="caps", version=version, digest="", folder=str(models / version), epoch=epoch, seq=turn)
            payload = encode(SLOT_DESIRED, slot)
            asked_ns = time.monotonic_ns()
            link.link.sendall(link.publisher(name, len(payload)) + payload)
            served_ns = _served(link, version)
            done.append(Done(asked_ns, served_ns, rss_mb(runtime_pid)))
        link.ping()
        pipe.send(done)


def _served(link: RawMqtt, version: str) -> int:
    """Wait until the runtime says that it serves a version; return when that came."""
    end = time.monotonic() + LOAD_S
    while read := link.read(end):
        for now_ns, body in read:
            state = decode(SLOT_STATE, Slot, payload_of(body))
            if (state.phase, state.version) == ("active", version):
                return now_ns
            if state.phase == "rejected":
                raise RuntimeError(f"version {version} was refused: {state.reason}")
    raise RuntimeError(f"version {version} was not served within {LOAD_S:g} s")


@dataclass(frozen=True)
class Seen:
    """A window's answers in their order: when each frame left, how long it took, and by which version."""

    window: Window
    sent_ns: Any
    versions: tuple[str, ...]
    reloads: tuple[Done, ...]


class ReloadLine:
    """The runtime, who publishes frames, who plays the agent, and us, who receive."""

    def __init__(self, device: Device, self_tests: bool) -> None:
        """Start all of them. `self_tests`: in place of each reload."""
        context = multiprocessing.get_context("spawn")
        self._sent_ns: Any = context.Array("q", 4_000_000)
        self.seen: list[Seen] = []
        self._next = 1
        device.start_broker()
        self.realtime = real_time(device.broker.pid, FIFO["broker"])
        runtime = device.start("runtime@safety")
        line = FIFO["line"] if self.realtime else 0
        if self.realtime:
            real_time(runtime.pid, FIFO["runtime"])  # from its start on, as systemd does it: its loader steps back
        self._link = RawMqtt(device.address("historian"), "bench-results")
        self._link.subscribe(RESULT.filter(device.place))
        self._players: list[tuple[Any, Connection]] = []
        camera = (device.address("camera-cam1"), device.place, self._sent_ns, SHAPE, line)
        self._camera = self._player(context, publish_frames, camera)
        if self_tests:
            asker = (device.address("cli"), device.home, runtime.pid)
            self._agent = self._player(context, ask_for_tests, asker)
        else:
            agent = (device.address("agent"), device.place, device.home / "models" / "caps", runtime.pid)
            self._agent = self._player(context, ask_reloads, agent)
        self._warm_up(device)
        if self.realtime:
            real_time(0, line)

    def _player(self, context: Any, play: Any, told: tuple[Any, ...]) -> Connection:
        near, far = context.Pipe()
        child = context.Process(target=play, args=(far, *told), daemon=True)
        child.start()
        self._players.append((child, near))
        if not near.poll(START_S):
            raise RuntimeError(f"{play.__name__} did not start within {START_S:g} s")
        near.recv()
        joined: Connection = near
        return joined

    def _warm_up(self, device: Device) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.window(50, 1.0, 0).dropped == 0:
                self.window(50, 2.0, 4)
                self.seen.clear()
                return
        raise RuntimeError(f"the runtime gave no results; its log ends: {device.log('runtime@safety')[-2000:]}")

    def window(self, rate: float, seconds: float, reloads: int) -> Window:
        """Publish one window, with so many reloads spread over it, and receive its answers."""
        plan = Plan(False, self._next, int(rate * seconds), rate)
        self._next += plan.count
        self._link.ping()
        self._camera.send(plan)
        if reloads:
            self._agent.send(Told(reloads, seconds))
        came: list[tuple[int, bytes]] = []
        until_s = time.monotonic() + seconds + 3.0
        while len(came) < plan.count and (read := self._link.read(until_s)):
            came += read
        self._camera.recv()
        return self._window(came, plan, seconds, tuple(self._reloads()) if reloads else ())

    def _reloads(self) -> list[Done]:
        if not self._agent.poll(LOAD_S):
            raise RuntimeError("the reloads did not come to an end")
        done: list[Done] = self._agent.recv()
        return done

    def _window(self, came: list[tuple[int, bytes]], plan: Plan, seconds: float, reloads: tuple[Done, ...]) -> Window:
        results = [(now_ns, decode(RESULT, Result, payload_of(body))) for now_ns, body in came]
        ran = [(now_ns, result) for now_ns, result in results if result.outcome is not Outcome.DROPPED]
        late = sum(result.outcome is Outcome.LATE or result.reason.startswith("expired") for _, result in results)
        answered = {result.source_seq for _, result in results}
        sent_ns = np.array([self._sent_ns[result.source_seq] for _, result in ran])
        us = (np.array([now_ns for now_ns, _ in ran]) - sent_ns) / 1e3
        notes = {"late": float(late), "twice": float(len(results) - len(answered)), "first": float(plan.first)}
        taken = Window(us, seconds, plan.count, len(results) - len(ran), plan.count - len(answered), notes=notes)
        self.seen.append(Seen(taken, sent_ns, tuple(result.version for _, result in ran), reloads))
        return taken

    @property
    def reloads(self) -> list[Done]:
        """Every reload, those of spoilt windows too: what they lose or leave in memory counts."""
        return [one for seen in self.seen for one in seen.reloads]

    def close(self) -> None:
        """End the players."""
        for child, near in self._players:
            near.close()
            child.terminate()
            child.join(5)


@dataclass(frozen=True)
class Figures:
    """What the last line says, and what the table shows besides."""

    reloads: int
    lost: int
    late: int
    p99_ratio: float
    rss_growth_mb: float
    frames: int
    twice: int
    dropped: int
    late_quiet: int
    dropped_quiet: int
    p99_of_all_ratio: float
    quiet_p50_us: float
    quiet_p99_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    quiet_p999_us: float
    max_us: float
    quiet_max_us: float
    load_ms: float
    rss_mb: float
    windows: int
    steal_windows_dropped: int
    worst_steal: float
    realtime: bool


def _figures(rounds: Rounds, line: ReloadLine) -> Figures:
    quiet, busy = rounds.all_us("quiet"), rounds.all_us("reloads")
    done = line.reloads
    rss = np.array([one.rss_mb for one in done])
    tenth = max(1, len(rss) // 10)

    def total(name: str, note: str) -> int:
        return int(rounds.total(name, lambda window: window.notes[note]))

    return Figures(
        reloads=len(done), lost=sum(seen.window.lost for seen in line.seen),
        late=total("reloads", "late"), p99_ratio=rounds.ratio("reloads", "quiet", p99),
        rss_growth_mb=float(np.median(rss[-tenth:]) - np.median(rss[tenth : 2 * tenth] if tenth > 1 else rss[:1])),
        frames=int(rounds.total("reloads", lambda window: window.sent)),
        twice=int(sum(seen.window.notes["twice"] for seen in line.seen)),
        dropped=int(rounds.total("reloads", lambda window: window.dropped)), late_quiet=total("quiet", "late"),
        dropped_quiet=int(rounds.total("quiet", lambda window: window.dropped)),
        p99_of_all_ratio=float(np.percentile(busy, 99) / np.percentile(quiet, 99)),
        quiet_p50_us=rounds.median("quiet", p50), quiet_p99_us=rounds.median("quiet", p99),
        p50_us=rounds.median("reloads", p50), p99_us=rounds.median("reloads", p99),
        p999_us=float(np.percentile(busy, 99.9)), quiet_p999_us=float(np.percentile(quiet, 99.9)),
        max_us=float(busy[-1]), quiet_max_us=float(quiet[-1]),
        load_ms=float(np.median([(one.served_ns - one.asked_ns) / 1e6 for one in done])), rss_mb=float(rss[-1]),
        windows=len(rounds.kept), steal_windows_dropped=rounds.spoilt, worst_steal=rounds.worst_steal,
        realtime=line.realtime,
    )  # fmt: skip


def _table(found: Figures, targets: shown.Targets) -> Table:
    table = Table(title=f"{found.reloads} reloads beside {found.frames} frames", title_justify="left")
    for column in ("", "quiet", "reloads"):
        table.add_column(column, justify="right" if column else "left")
    ratio = f"{found.p99_ratio:.2f}"
    rows = {
        "p50, us": (f"{found.quiet_p50_us:.0f}", f"{found.p50_us:.0f}"),
        "p99, us": (f"{found.quiet_p99_us:.0f}", f"{found.p99_us:.0f}"),
        "p99.9, us": (f"{found.quiet_p999_us:.0f}", f"{found.p999_us:.0f}"),
        "longest, us": (f"{found.quiet_max_us:.0f}", f"{found.max_us:.0f}"),
        f"p99 over the quiet one (target {P99_TARGET:g})": (
            "", targets.cell(f"p99 over quiet, at most {P99_TARGET:g}", ratio, found.p99_ratio <= P99_TARGET),
        ),
        "the same, of all windows together": ("", f"{found.p99_of_all_ratio:.2f}"),
        "frames lost (target 0)": ("", targets.cell("frames lost", str(found.lost), found.lost == 0)),
        "frames answered twice (target 0)": ("", targets.cell("answered twice", str(found.twice), found.twice == 0)),
        f"late, {DEADLINE_MS} ms (target 0)": (
            str(found.late_quiet), targets.cell("late", str(found.late), found.late == 0)
        ),
        "frames dropped": (str(found.dropped_quiet), str(found.dropped)),
        "asked -> serves, ms": ("", f"{found.load_ms:.0f}"),
        "resident, MB": ("", f"{found.rss_mb:.0f}"),
        f"grown by, MB (target {RSS_TARGET_MB:g})": (
            "", targets.cell("memory grown by, MB", f"{found.rss_growth_mb:.1f}", found.rss_growth_mb <= RSS_TARGET_MB),
        ),
        "windows, spoilt by steal": ("", f"{found.windows}, {found.steal_windows_dropped}"),
    }  # fmt: skip
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _draw(line: ReloadLine, rounds: Rounds, published: bool, console: Console) -> None:
    kept = {window.notes["first"] for taken in rounds.kept for window in taken.values()}
    start_ns = line.seen[0].sent_ns[0]
    windows = [seen for seen in line.seen if seen.window.notes["first"] in kept]
    at_s = np.concatenate([(seen.sent_ns - start_ns) / 1e9 for seen in windows])
    ms = np.concatenate([seen.window.us / 1e3 for seen in windows])
    marks_s = [(one.served_ns - start_ns) / 1e9 for one in line.reloads]
    held = [one.rss_mb for one in line.reloads]
    shown.plot_course(
        "reload", "frame published -> result received, and what the runtime holds; each mark is a reload",
        (at_s, ms, "latency, ms"), (marks_s, held, "resident set, MB"), published, console,
    )  # fmt: skip


def _swaps(line: ReloadLine) -> int:
    return sum(a != b for seen in line.seen for a, b in zip(seen.versions, seen.versions[1:], strict=False))


def _measure(told: argparse.Namespace, line: ReloadLine, console: Console) -> Rounds:
    wanted = max(1, round(told.seconds / told.window))
    each = max(1, round(told.reloads / wanted))
    with Progress(console=console) as progress:
        task = progress.add_task(f"{told.rate:g} frames/s, {told.reloads} reloads", total=wanted)
        return interleave(
            {
                "quiet": lambda: line.window(told.rate, told.window, 0),
                "reloads": lambda: line.window(told.rate, told.window, each),
            },
            wanted, lambda: progress.advance(task),
        )  # fmt: skip


def main() -> int:
    """Measure; the exit status is 1 if a target is missed."""
    parser = shown.arguments("reload", __doc__)
    parser.add_argument("--reloads", type=int, default=200, help="in all windows together")
    parser.add_argument("--rate", type=float, default=1000.0, help="frames per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="with reloads, and as many without")
    parser.add_argument("--window", type=float, default=5.0, help="seconds of one window")
    parser.add_argument("--self-tests", action="store_true", help="have the model tested in place of each reload")
    told = parser.parse_args()
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="plantedge-bench-"))
    device = Device(folder, USERS)
    device.add("device.toml", PIPELINE)
    for version in VERSIONS:
        write_classifier(device.home / "models", version=version, shape=SHAPE, deep=True)
    try:
        line = ReloadLine(device, told.self_tests)
        try:
            rounds = _measure(told, line, console)
        finally:
            line.close()
    finally:
        device.stop()
        shutil.rmtree(folder, ignore_errors=True)
    found, targets = _figures(rounds, line), shown.Targets()
    console.print(_table(found, targets))
    console.print(f"{_swaps(line)} changes of version between two answers; real-time class: "
                  + ("broker and runtime" if found.realtime else "not permitted here"))  # fmt: skip
    _draw(line, rounds, told.plots, console)
    targets.say(console)
    shown.finish(vars(found))
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
