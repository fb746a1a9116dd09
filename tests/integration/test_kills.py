"""Each process of a running device is killed once: how soon it is back, what the PLC saw meanwhile, nothing twice."""

import asyncio
import contextlib
import http.client
import os
import signal
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge.opcua_server.probe import read_once
from edge.settings import load_settings
from edge.supervision.run_state import Phase
from schemas.errors import StartError
from schemas.messages import Outcome
from tests.integration.account import FATES, kept, repeated, tell
from tests.integration.running_line import (
    BULK,
    PIPELINE,
    Observer,
    RunningLine,
    newest_point,
    stored,
    stored_failsafes,
    until,
)
from tests.integration.test_accounting import FIGURES

pytestmark = pytest.mark.alone

PARTS_PER_S = 20.0
LEASE_S = 0.5  # outputs.cap_inspection.lease_ms of the demo
WATCHDOG_S = 0.5  # of the simulated PLC
RECOVERY_S = 5.0
SLACK_S = 0.5  # of a busy machine
STALL_S = 0.4  # the plant, which nobody kills, is asked every 0.03 s
TRIES = 3  # of a kill during which the machine stood still
WINDOW_S = 3.2  # line_anomaly needs so many readings before its first result
UPSTREAM = "upstream_bytes_today"
OPCUA_PATH = f"demo/line1/edge1/Pipelines/{PIPELINE}/ResultId"


@dataclass(frozen=True)
class Sample:
    """The PLC at one moment, CLOCK_MONOTONIC."""

    at: float
    plc: dict[str, Any]


@dataclass
class Watch:
    """Asks the plant all the time, and the OPC UA server when told to."""

    line: RunningLine
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            with contextlib.suppress(StartError):
                state = await asyncio.to_thread(self.line.plant)
                self.samples.append(Sample(time.monotonic(), state))
            await asyncio.sleep(0.03)

    @property
    def now(self) -> dict[str, Any]:
        """The newest."""
        return self.samples[-1].plc

    def first(self, since: float, holds: Callable[[dict[str, Any]], bool]) -> float | None:
        """Seconds from `since` to the first sample after it for which something holds."""
        return next((one.at - since for one in self.samples if one.at > since and holds(one.plc)), None)

    def stalled_s(self, since: float) -> float:
        """The longest that the plant gave no answer: the machine stood still, by work that is not the line's."""
        times = [since, *(one.at for one in self.samples if one.at > since), time.monotonic()]
        return max(later - earlier for earlier, later in pairwise(times))


@dataclass(frozen=True)
class Kill:
    """What was seen of one kill. Times are seconds after it; None: it did not happen. `again`: it does not count."""

    process: str
    active_s: float
    data_s: float
    disarmed_s: float | None
    watchdog_s: float | None
    rearmed_s: float | None
    undecided: int
    failsafe: int
    from_ns: int
    to_ns: int
    stalled_s: float
    again: bool = False
    reason: str = ""

    @property
    def recovered_s(self) -> float:
        """Active and its data flows; of a model that looks at the last seconds, from when they lie behind it."""
        return max(self.active_s, self.data_s - (WINDOW_S if self.process == "runtime-bulk" else 0.0))


class Bench:
    """Kills, and waits until all is well again."""

    def __init__(self, line: RunningLine, observer: Observer, watch: Watch, folder: Path) -> None:
        """Kill nothing yet."""
        self.line, self.observer, self.watch = line, observer, watch
        self._folder = folder

    def flows(self, name: str) -> Callable[[float], Any]:
        """Return what shows that the data of a process flows again after a time."""
        seen = self.observer.last
        after: dict[str, Callable[[float], Any]] = {
            "connect-plant": lambda at: seen["armed output"] > at,
            "runtime-safety": lambda at: seen[f"result {PIPELINE}"] > at and seen["armed output"] > at,
            "runtime-bulk": lambda at: seen[f"result {BULK}"] > at,
            "camera-cam1": lambda at: seen["frame"] > at and seen["armed output"] > at,
            "mirror": lambda at: seen["mes"] > at,
            "agent": lambda at: seen["slot"] > at,
            "broker": lambda at: seen[f"result {PIPELINE}"] > at and seen["armed output"] > at,
        }
        return after.get(name, lambda _: True)

    async def kill(self, name: str) -> list[Kill]:
        """Kill one process; once more, at most twice, where the machine stood still meanwhile."""
        kills = [await self._kill(name)]
        while kills[-1].stalled_s > STALL_S and len(kills) < TRIES:
            kills[-1] = replace(kills[-1], again=True)
            kills.append(await self._kill(name))
        return kills

    async def _kill(self, name: str) -> Kill:
        """Kill one process and measure until it says `active` and its data flows."""
        await self.calm()
        pid = await until(lambda: self._pid(name), f"process id of {name}", 5)
        plc = self.watch.now
        point = newest_point(self.line.home)
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        data = asyncio.create_task(self._data(name, at, point))
        active_s = await self._active(name, at)
        data_s = await data
        await self.calm()
        return self._told(name, at, active_s, data_s, plc)

    def _pid(self, name: str) -> int:
        """The process that runs now, 0 while the supervisor has only written down the one before."""
        child = self.line.child(name)
        return child.pid if child.phase is Phase.READY and psutil.pid_exists(child.pid) else 0

    async def calm(self) -> None:
        """Wait until the line is armed and every process active, so that nothing of the last kill is left."""
        processes = [name for name in self.observer.status if name != "runtime-bulk"]
        await until(
            lambda: self.watch.now["armed"] and all(self.observer.active(name, 0.0) for name in processes),
            "armed and active", 30,
        )  # fmt: skip

    async def _active(self, name: str, at: float) -> float:
        """Seconds until its new process, or all where it was the broker, says that it is active."""
        names = list(self.observer.status) if name == "broker" else [name]
        await until(lambda: all(self.observer.active(one, at) for one in names), f"{name} active", 30)
        return max((self.observer.active(one, at) or 0.0) for one in names) - at

    async def _data(self, name: str, at: float, point: int) -> float:
        if name == "opcua":
            await self._opcua(at)
        elif name == "historian":
            await until(lambda: newest_point(self.line.home) > point, "new points in the store", 30)
        elif name == "monitor":
            await until(self._called_ready, "the device called ready again", 30, 0.1)
        elif name == "uplink":
            sent = self.observer.counter(name, UPSTREAM)
            await until(lambda: self.observer.counter(name, UPSTREAM) > sent, "bytes to the fleet", 30)
        else:
            flows = self.flows(name)
            await until(lambda: flows(at + 0.05), f"data of {name}", 30)
        return time.monotonic() - at

    def _called_ready(self) -> bool:
        """What a load balancer sees."""
        state = self.line.state
        assert state is not None
        where = urllib.parse.urlsplit(state.urls["metrics"])
        link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(link):
            link.request("GET", "/v2/health/ready")
            return link.getresponse().status == 200
        return False

    async def _opcua(self, at: float) -> None:
        """Read as a SCADA client does, until a result shows that was made after `at`."""
        state = self.line.state
        assert state is not None
        endpoint = state.urls["OPC UA"]
        old = set(self.observer.results)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(Exception):  # nobody listens yet, or hangs up
                    value = await asyncio.wait_for(read_once(endpoint, OPCUA_PATH, self._folder), 5)
                    if value is not None and value not in old:
                        return
                await asyncio.sleep(0.1)

    def _told(self, name: str, at: float, active_s: float, data_s: float, before: dict[str, Any]) -> Kill:
        watch, now = self.watch, self.watch.now
        disarmed_s = watch.first(at, lambda plc: not plc["armed"] and plc["reject"])
        rearmed = None if disarmed_s is None else watch.first(at + disarmed_s, lambda plc: bool(plc["armed"]))
        return Kill(
            process=name, active_s=round(active_s, 2), data_s=round(data_s, 2), disarmed_s=rounded(disarmed_s),
            watchdog_s=rounded(watch.first(at, lambda plc: plc["watchdog_trips"] > before["watchdog_trips"])),
            rearmed_s=None if rearmed is None or disarmed_s is None else rounded(rearmed + disarmed_s),
            undecided=now["undecided"] - before["undecided"], failsafe=now["failsafe"] - before["failsafe"],
            from_ns=time.time_ns() - int((time.monotonic() - at) * 1e9), to_ns=time.time_ns(),
            stalled_s=round(watch.stalled_s(at), 2),
        )  # fmt: skip


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


# Some again and again: the supervisor waits longer each time, in the end longer than lease and watchdog allow.
ORDER = (
    "mirror", "hmi", "monitor", "agent", "uplink", "historian", "opcua", "runtime-bulk", "camera-cam1",
    "runtime-safety", "connect-plant", "connect-plant", "connect-plant", "broker", "broker", "broker",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(500)
async def test_each_process_is_killed_once_and_is_back_within_five_seconds(tmp_path: Path) -> None:
    line = RunningLine(tmp_path, PARTS_PER_S)
    try:
        await line.settled()
        async with Observer().watching(line) as observer:
            await line.ready()
            kills = await kill_all(line, observer, tmp_path)
            plant = await rest(line, observer)
    finally:
        line.stop()
    kills = [replace(kill, reason=reason_of(kill, stored_failsafes(line.home))) for kill in kills]
    tell_kills(kills, line, observer, plant)
    for kill in kills:
        if not kill.again:
            hold_failsafe(kill)
    assert any(kill.disarmed_s for kill in kills if kill.process == "broker"), "away for longer than the lease"
    assert any(kill.watchdog_s for kill in kills if kill.process == "connect-plant"), (
        "away for longer than the watchdog"
    )
    hold_ledgers(line, observer, plant, Counter(kill.process for kill in kills))
    late = [kill for kill in kills if kill.recovered_s > RECOVERY_S and not kill.again]
    assert late == [], f"not back within {RECOVERY_S:g} s"


async def kill_all(line: RunningLine, observer: Observer, folder: Path) -> list[Kill]:
    """Kill each process in turn."""
    watch = Watch(line)
    async with asyncio.TaskGroup() as tasks:
        sampling = tasks.create_task(watch.run())
        await until(lambda: watch.samples, "the plant", 10)
        bench = Bench(line, observer, watch, folder)
        kills = [kill for name in ORDER for kill in await bench.kill(name)]
        sampling.cancel()
    return kills


async def rest(line: RunningLine, observer: Observer) -> dict[str, Any]:
    """Pull the camera's cable, wait until all is stored, and return the plant's last state."""
    line.plant(do="fault", source="camera", kind="cut", for_s=600.0)
    await until(lambda: time.monotonic() - observer.last[f"result {PIPELINE}"] > 2.0, "no results", 30)

    def all_stored() -> bool:
        return {one.result_id for one in newest(observer)} <= {one.result_id for one in stored(line.home, "result")}

    await until(all_stored, "results stored", 30, 0.5)
    return line.plant()


def reason_of(kill: Kill, latched: list[tuple[int, str]]) -> str:
    """Why the fail-safe was latched after a kill, "" if it was not."""
    return next((reason for when, reason in latched if kill.from_ns < when < kill.to_ns), "")


def newest(observer: Observer) -> list[Any]:
    """The results that were heard last."""
    return observer.of(PIPELINE)[-100:]


def tell_kills(kills: list[Kill], line: RunningLine, observer: Observer, plant: dict[str, Any]) -> None:
    """Print one row per process, and the ledgers."""
    outcomes = Counter(result.outcome.value for result in observer.of(PIPELINE))
    figures: dict[str, Any] = {}
    for number, kill in enumerate(kills, 1):
        seen = {name: value for name, value in asdict(kill).items() if name not in ("process", "from_ns", "to_ns")}
        figures[f"{number} {kill.process}"] = {"recovered_s": round(kill.recovered_s, 2)} | seen
    ledgers = {
        "results": outcomes, "stored": kept(stored(line.home, "result")), "outputs": kept(stored(line.home, "output")),
        "heard_twice": dict(observer.again), "plant": {name: plant[name] for name in ("parts", *FATES)},
    }  # fmt: skip
    tell("kills", figures | ledgers, FIGURES)


def hold_failsafe(kill: Kill) -> None:
    """What the PLC must have seen: the table {process} x {killed} of docs/explanation."""
    if kill.process in ("runtime-safety", "broker") and kill.disarmed_s is None:
        assert kill.data_s < LEASE_S + SLACK_S, f"back before the lease had ended: {kill}"
    elif kill.process in ("runtime-safety", "broker"):  # connect writes it by itself
        assert kill.disarmed_s is not None and kill.disarmed_s < LEASE_S + SLACK_S, kill
        assert "no decision or self-test for 500 ms" in kill.reason, kill
    elif kill.process == "connect-plant":  # nobody is there to write: the PLC's own watchdog, then the first write
        assert kill.disarmed_s is not None and kill.rearmed_s is not None, kill
        assert kill.disarmed_s < kill.rearmed_s and kill.reason == "started", kill
        noticed_s = kill.disarmed_s if kill.watchdog_s is None else kill.watchdog_s
        assert noticed_s < WATCHDOG_S + SLACK_S, f"nobody noticed in time: {kill}"
        assert kill.undecided > 0, f"without connect the PLC rejects by itself: {kill}"
    else:
        assert (kill.disarmed_s, kill.watchdog_s) == (None, None), f"it does not disturb the line: {kill}"


def hold_ledgers(line: RunningLine, observer: Observer, plant: dict[str, Any], killed: Counter[str]) -> None:
    """Nothing is counted twice, nothing that was told is missing from the store, each part has one fate."""
    results, outputs = stored(line.home, "result"), stored(line.home, "output")
    assert repeated([one.result_id for one in results]) == []
    assert repeated([one.result_id for one in outputs]) == []
    for one in [*kept(results), *kept(outputs)]:
        assert one.holes == 0, f"what was told is not in the historian: {one}"
    starts = Counter(one.pipeline for one in kept(results))
    lanes = load_settings(line.home).lanes
    assert starts == {one: 1 + killed[f"runtime-{lane}"] for lane, of_lane in lanes.items() for one in of_lane}
    assert plant["parts"] == sum(plant[name] for name in FATES)
    in_time = len(observer.of(PIPELINE, Outcome.RESULT))
    assert in_time <= plant["parts"]
    decided = sum(plant[name] for name in ("correct_rejects", "missed_rejects", "false_rejects", "correct_passes"))
    assert decided <= len(outputs) + plant["failsafe"], "no more parts were decided than outputs acknowledged"
    assert plant["missed_rejects"] + plant["false_rejects"] <= 0.05 * decided, "the model's errors, not the kills'"
