"""A whole demo device under `plantedge up`, in a folder of its own, and an observer that hears all of its bus."""

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus import Delivery
from bus.hot import HotBus
from bus.typed import Reader
from edge.config.files import OVERLAY_FILE
from edge.line.demo import control_socket
from edge.process import broker_address
from edge.settings import load_settings
from edge.sim.control import ask
from edge.supervision.run_state import ChildState, RunState, read_state
from schemas.messages import (
    Decision,
    Frame,
    Insight,
    MesResult,
    Outcome,
    Output,
    Proof,
    Result,
    Slot,
    State,
    Status,
)
from schemas.topics import DECISION, FRAME, INSIGHT, MES_RESULT, OUTPUT, RESULT, SLOT_DESIRED, STATUS

PIPELINE = "cap_inspection"
BULK = "line_anomaly"
STREAM = "cam1"
READY_S = 150.0
_ID = re.compile(r'result_id="([^"]+)"')


async def until(condition: Callable[[], Any], what: str, timeout_s: float, every_s: float = 0.02) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(every_s)
    return value


class RunningLine:
    """`plantedge up` as a person starts it."""

    def __init__(self, work: Path, parts_per_s: float, *options: str) -> None:
        """Start it, with further options of the command."""
        self.work = work
        self.home = work / "demo" / "device"
        argv = [sys.executable, "-P", "-m", "edge.cli", "up", "--plain", "--parts-per-s", str(parts_per_s), *options]
        # An installed device has its bytecode; to compile it at each start would cost the OPC UA server seconds.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with (work / "up.txt").open("wb") as said:
            self._process = subprocess.Popen(
                argv, env=env | {"PLANTEDGE_DIR": str(work)}, stdout=said, stderr=subprocess.STDOUT
            )

    @property
    def state(self) -> RunState | None:
        """What its supervisor has written down, once a second and at each end."""
        return read_state(self.work)

    def child(self, name: str) -> ChildState:
        """One supervised process."""
        state = self.state
        assert state is not None, self.said()
        return next(child for child in state.children if child.name == name)

    def said(self) -> str:
        """What it has printed."""
        return (self.work / "up.txt").read_text()

    def plant(self, **request: object) -> dict[str, Any]:
        """Ask the plant; without a request for its state."""
        return ask(control_socket(self.work), request or {"do": "state"}, timeout_s=10.0)

    async def ready(self) -> None:
        """Wait until it says so."""

        def is_ready() -> bool:
            assert self._process.poll() is None, self.said()
            return bool((state := self.state) and state.ready_s is not None)

        await until(is_ready, "ready", READY_S, 0.2)

    async def settled(self) -> None:
        """Wait until its settings and its broker's accounts are written: an observer can connect from then on."""

        def written() -> bool:
            assert self._process.poll() is None, self.said()
            with contextlib.suppress(Exception):  # files are being written
                broker = load_settings(self.home).broker
                return bool(broker.credentials) and (self.home / broker.credentials).exists()
            return False

        await until(lambda: (self.home / OVERLAY_FILE).exists() and written(), "settings", READY_S, 0.1)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise


@dataclass(frozen=True)
class Stored:
    """The point of a result or an output in the historian; epoch and seq are its publisher's."""

    result_id: str
    pipeline: str
    epoch: int
    seq: int


def _stored(home: Path, measurement: str) -> list[tuple[str, int, int, str]]:
    with contextlib.closing(sqlite3.connect(f"file:{home}/state/historian.db?mode=ro", uri=True)) as db:
        return db.execute(
            "select s.key, p.epoch, p.seq, p.fields from point p join series s on s.id = p.series where s.key like ?"
            " order by p.id", (measurement + ",%",),
        ).fetchall()  # fmt: skip


def stored(home: Path, measurement: str) -> list[Stored]:
    """All results, or outputs, in the historian's store, read from its file and not through its code."""
    found = []
    for key, epoch, seq, fields in _stored(home, measurement):
        pipeline = re.search(r"pipeline=([^,]+)", key)
        named = _ID.search(fields)
        assert pipeline and named, (key, fields)
        found.append(Stored(named[1], pipeline[1], epoch, seq))
    return found


def stored_failsafes(home: Path) -> list[tuple[int, str]]:
    """When the fail-safe was latched, wall clock in nanoseconds, and why, as the historian's events say it."""
    with contextlib.closing(sqlite3.connect(f"file:{home}/state/historian.db?mode=ro", uri=True)) as db:
        rows = db.execute(
            "select p.time_ns, p.fields from point p join series s on s.id = p.series"
            " where s.key like 'event,code=failsafe,%' and p.fields like '%phase=\"new\"%' order by p.time_ns"
        ).fetchall()  # fmt: skip
    return [(when, match[1]) for when, fields in rows if (match := re.search(r'arg_reason="([^"]*)"', fields))]


def newest_point(home: Path) -> int:
    """The id of the newest point of the store."""
    with contextlib.closing(sqlite3.connect(f"file:{home}/state/historian.db?mode=ro", uri=True, timeout=2.0)) as db:
        return int(db.execute("select coalesce(max(id), 0) from point").fetchone()[0])


class Observer:
    """Hears the bus under the device's own readers' accounts, by connections of its own; decides nothing itself."""

    def __init__(self) -> None:
        """Start without anything heard."""
        self.frames: dict[int, dict[int, int]] = {}
        self.results: dict[str, Result] = {}
        self.decisions: Counter[str] = Counter()
        self.outputs: dict[str, Output] = {}
        self.again: Counter[str] = Counter()
        self.insights: list[Insight] = []
        self.status: dict[str, list[tuple[float, Status]]] = {}
        self.last: defaultdict[str, float] = defaultdict(float)

    @contextlib.asynccontextmanager
    async def watching(self, line: RunningLine) -> AsyncIterator["Observer"]:
        """Connect as soon as the broker is there."""
        settings = load_settings(line.home)
        place = settings.place

        def bus(user: str) -> HotBus:
            return HotBus(broker_address(settings, line.home, user), f"{user}-observer", connect_timeout_s=60.0)

        async with bus("runtime-safety") as frames, bus("connect-plant") as decisions, bus("cli") as person:
            await Reader(FRAME, Frame, lambda frame, _: self._frame(frame)).attach(frames, place, stream=STREAM)
            await Reader(DECISION, Decision, lambda decision, _: self._decision(decision)).attach(decisions, place)
            await Reader(RESULT, Result, lambda result, _: self._result(result)).attach(person, place)
            await Reader(OUTPUT, Output, lambda output, _: self._output(output)).attach(person, place)
            await Reader(INSIGHT, Insight, lambda one, told: self._insight(one, told.retained)).attach(person, place)
            await Reader(STATUS, Status, lambda status, _: self._status(status)).attach(person, place)
            await Reader(MES_RESULT, MesResult, lambda _, told: self._note("mes", told)).attach(person, place)
            await Reader(SLOT_DESIRED, Slot, lambda _, told: self._note("slot", told)).attach(person, place)
            yield self

    def _frame(self, frame: Frame) -> None:
        self.frames.setdefault(frame.epoch, {})[frame.seq] = frame.part_id
        self.last["frame"] = time.monotonic()

    def _decision(self, decision: Decision) -> None:
        if decision.proof is Proof.PART:
            self.decisions[decision.result_id] += 1

    def _result(self, result: Result) -> None:
        if result.result_id in self.results:
            self.again["result"] += 1
        self.results[result.result_id] = result
        self.last[f"result {result.pipeline}"] = time.monotonic()

    def _output(self, output: Output) -> None:
        if output.result_id in self.outputs:
            self.again["output"] += 1
        self.outputs[output.result_id] = output
        self.last["output"] = time.monotonic()
        if not output.failsafe:
            self.last["armed output"] = time.monotonic()

    def _insight(self, insight: Insight, retained: bool) -> None:
        if not retained:
            self.insights.append(insight)

    def _status(self, status: Status) -> None:
        said = time.monotonic() - (time.time_ns() - status.time_ns) / 1e9  # a retained one may be old
        self.status.setdefault(status.process, []).append((said, status))

    def _note(self, what: str, told: Delivery) -> None:
        if not told.retained:
            self.last[what] = time.monotonic()

    def of(self, pipeline: str, *outcomes: Outcome) -> list[Result]:
        """Results of a pipeline, of all outcomes or of some."""
        wanted = outcomes or tuple(Outcome)
        return [one for one in self.results.values() if one.pipeline == pipeline and one.outcome in wanted]

    def counter(self, process: str, name: str) -> int:
        """The newest value that a process has told."""
        told = self.status.get(process)
        return int(told[-1][1].counters.get(name, 0)) if told else 0

    def active(self, process: str, since: float) -> float | None:
        """When a process said after `since` that it is active, in the words that still hold; None while it does not."""
        told = [at for at, status in self.status.get(process, []) if at > since and status.state is State.ACTIVE]
        holds = bool(told) and self.status[process][-1][1].state is State.ACTIVE
        return told[0] if holds else None
