"""Sources that are well while another one's PLC is not, in `bench plc`: how exactly they keep their period.

Each source has its own `connect` process, as on a device, its own PLC, and the one real mosquitto. Jitter is how long
after its point of the grid a scan begins: the grid begins with the link and does not drift, so no fit is needed.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bus.codec import decode
from schemas.messages import Reading
from schemas.topics import READING
from tests.bench.cast import Cast
from tests.bench.line import FIFO
from tests.bench.machine import real_time
from tests.bench.plc_players import FAULTS, WELL, be_ill_plc
from tests.bench.raw_mqtt import RawMqtt, payload_of
from tests.bench.windows import Rounds, Window, interleave, percentile
from tests.device import Device
from tests.peers.modbus_peer import modbus_peer

PERIOD_MS: Final = 20.0
REGISTERS, ILL_REGISTERS = 100, 1000
HEALTHY: Final = ("a", "b", "c")
ILL: Final = "ill"
CONNECT_FIFO: Final = 45  # as edge/processes.py
PLC_FIFO: Final = 55  # a PLC is another machine
START_S: Final = 60.0
SETTLE_S: Final = 0.5
# "quiet again" shows what the ratio of two equal things is; with "not polled" the ill source's process is stopped: what
# there is less to do costs those who go on.
QUIET, AGAIN, IDLE = "quiet", "quiet again", "not polled"
STATES: Final = (QUIET, AGAIN, IDLE, *FAULTS)
USERS: Final = (*(f"connect-{name}" for name in (*HEALTHY, ILL)), "historian")
SOURCE = """
[sources.{name}]
driver = "modbus"
host = "127.0.0.1"
port = {port}
timeout_ms = 300
tags = "tags/{name}.csv"
groups = {{ fast = {period:g} }}
"""


@dataclass
class Grid:
    """One source's grid: as `PollGroup` keeps it, from the first scan of its link on."""

    due_ns: int = 0
    missed: int = 0

    def late_ns(self, scan_ns: int) -> int:
        """Return how long after its point of the grid a scan began; those that it left out are counted."""
        period_ns = int(PERIOD_MS * 1e6)
        if not self.due_ns:
            self.due_ns = scan_ns
        late_ns = scan_ns - self.due_ns
        missed = max(0, late_ns) // period_ns
        self.missed += missed
        self.due_ns += (missed + 1) * period_ns
        return late_ns


def tag_list(registers: int) -> str:
    """Return a tag list of registers from 0 on."""
    rows = [f"Line.Register{at},hr:{at},uint16,r,fast" for at in range(registers)]
    return "\n".join(["name,address,type,access,group", *rows, ""])


class Line:
    """A device of four sources, their PLCs, and us, who read what they publish."""

    def __init__(self, device: Device, ports: Mapping[str, int], pids: Sequence[int], cast: Cast) -> None:
        """Start all; return once every source is read."""
        self._ill, ill_port = cast.add(be_ill_plc, PLC_FIFO)
        for name, port in {**ports, ILL: ill_port}.items():
            device.write(f"tags/{name}.csv", tag_list(ILL_REGISTERS if name == ILL else REGISTERS))
            device.add("device.toml", SOURCE.format(name=name, port=port, period=PERIOD_MS))
        device.start_broker()
        self.realtime = real_time(device.broker.pid, FIFO["broker"])
        self._link = RawMqtt(device.address("historian"), "bench-readings")
        self._link.subscribe(READING.filter(device.place))
        self._grids = {name: Grid() for name in HEALTHY}
        connects = {name: device.start(f"connect@{name}") for name in (*HEALTHY, ILL)}
        self._ill_connect = psutil.Process(connects[ILL].pid)
        waited = set(connects)
        _, all_read = self._take(START_S, lambda reading: _without(waited, reading.source))
        if not all_read:
            raise RuntimeError("not read:\n" + "\n".join(device.log(f"connect@{name}")[-600:] for name in waited))
        if self.realtime:
            for pid in pids:
                real_time(pid, PLC_FIFO)
            for child in connects.values():
                real_time(child.pid, CONNECT_FIFO)

    def window(self, state: str, seconds: float) -> Window:
        """Take the healthy sources' jitter in microseconds, while the other one's PLC falls ill and stays so."""
        self._take(SETTLE_S)
        missed = sum(grid.missed for grid in self._grids.values())
        before = self._ill_connect.cpu_times()
        self._begin(state)
        late_us, _ = self._take(seconds)
        after = self._ill_connect.cpu_times()
        self._end(state)
        busy = (after.user + after.system - before.user - before.system) / seconds
        lost = sum(grid.missed for grid in self._grids.values()) - missed
        return Window(np.array(late_us), seconds, len(late_us), lost=lost, notes={"busy": busy})

    def _begin(self, state: str) -> None:
        if state == IDLE:
            self._ill_connect.suspend()
        elif state in FAULTS:
            self._ill.send(state)
            self._ill.recv()

    def _end(self, state: str) -> None:
        if state == IDLE:
            self._ill_connect.resume()
        elif state in FAULTS:
            self._ill.send(WELL)
            self._ill.recv()
            _, back = self._take(START_S, lambda reading: _live(reading) and reading.source == ILL)
            if not back:
                raise RuntimeError(f"the source that was {state} is not read again within {START_S:g} s")

    def _take(self, seconds: float, enough: Callable[[Reading], bool] = lambda _: False) -> tuple[list[float], bool]:
        """Read what is published for so long, or until enough: the healthy sources' jitter, and whether it was."""
        self._link.ping()
        until_s, late_us, ended = time.monotonic() + seconds, list[float](), False
        while not ended and (bodies := self._link.read(until_s)):
            for _, body in bodies:
                reading = decode(READING, Reading, payload_of(body))
                ended = enough(reading) or ended
                if reading.source == ILL:
                    continue
                if not _live(reading):
                    raise RuntimeError(f"{reading.source}, which nothing was done to, has lost its link")
                late_us.append(self._grids[reading.source].late_ns(reading.scan_ns) / 1e3)
        return late_us, ended

    def close(self) -> None:
        """Go."""
        self._link.link.close()


def _without(waited: set[str], source: str) -> bool:
    """Take a source out of those that are waited for; return whether none is left."""
    waited.discard(source)
    return not waited


def _live(reading: Reading) -> bool:
    """Whether it is a scan; what says that the link is down has taken no time."""
    return reading.scan_ms > 0


@dataclass(frozen=True)
class Isolated:
    """The rounds, each with one window of every state."""

    rounds: Rounds
    realtime: bool

    def us(self, state: str, percent: float) -> float:
        """Return a percentile of a state's jitter, the median over rounds."""
        return self.rounds.median(state, percentile(percent))

    def ratio(self, state: str, percent: float) -> float:
        """Return a state's percentile over that of the round's two quiet windows, the median over rounds."""
        return self._over(state, (QUIET, AGAIN), percent)

    def _over(self, state: str, others: Sequence[str], percent: float) -> float:
        return float(np.median([
            np.percentile(taken[state].us, percent)
            / np.percentile(np.concatenate([taken[other].us for other in others]), percent)
            for taken in self.rounds.kept
        ]))  # fmt: skip

    def noise(self, percent: float) -> float:
        """Return by how much the two quiet windows of a round differ: the larger over the smaller, the median."""
        ratios = [self._apart(taken[QUIET], taken[AGAIN], percent) for taken in self.rounds.kept]
        return float(np.median(ratios))

    @staticmethod
    def _apart(one: Window, other: Window, percent: float) -> float:
        larger, smaller = np.percentile(one.us, percent), np.percentile(other.us, percent)
        return float(max(larger, smaller) / min(larger, smaller))

    def busy(self, state: str) -> float:
        """Return what the ill source's process takes of a core."""
        return self.rounds.median(state, lambda window: window.notes["busy"])

    def lost(self, state: str) -> int:
        """Return how many scans were left out."""
        return int(self.rounds.total(state, lambda window: window.lost))

    @property
    def worst(self) -> float:
        """The largest ratio of p99 under a fault."""
        return max(self.ratio(fault, 99) for fault in FAULTS)

    @property
    def worst_beside_none(self) -> float:
        """The same over the window in which the ill source is not polled at all: the hardest to be compared with."""
        return max(self._over(fault, (IDLE,), 99) for fault in FAULTS)

    @property
    def figures(self) -> dict[str, Any]:
        """What the JSON line says."""
        by_state = {
            state: {
                "p50_us": self.us(state, 50), "p99_us": self.us(state, 99), "ratio_p50": self.ratio(state, 50),
                "ratio_p99": self.ratio(state, 99), "p99_share_of_period": self.us(state, 99) / PERIOD_MS / 1e3,
                "scans_missed": self.lost(state), "ill_busy": self.busy(state),
            }
            for state in STATES
        }  # fmt: skip
        return {
            "isolation_jitter_ratio": self.worst, "isolation_noise_ratio": self.noise(99),
            "isolation_jitter_ratio_to_not_polled": self.worst_beside_none,
            "isolation_worst_p99_share_of_period": max(self.us(fault, 99) for fault in FAULTS) / PERIOD_MS / 1e3,
            "isolation": by_state, "isolation_windows": len(self.rounds.kept), "isolation_spoilt": self.rounds.spoilt,
        }  # fmt: skip


def measure(folder: Path, windows: int, seconds: float, advance: Callable[[], object]) -> Isolated:
    """Interleave windows of all states."""
    device, cast = Device(folder, USERS), Cast()
    try:
        with contextlib.ExitStack() as plcs:
            ports, pids = dict[str, int](), list[int]()
            for name in HEALTHY:
                ports[name], child = plcs.enter_context(modbus_peer(registers=REGISTERS))
                pids.append(child.pid)
            line = Line(device, ports, pids, cast)
            plcs.callback(line.close)
            takers = {state: _taker(line, state, seconds) for state in STATES}
            return Isolated(interleave(takers, windows, advance), line.realtime)
    finally:
        cast.close()
        device.stop()


def _taker(line: Line, state: str, seconds: float) -> Callable[[], Window]:
    return lambda: line.window(state, seconds)
