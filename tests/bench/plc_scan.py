"""What one scan costs, in `bench plc`: a connector as connect uses it, beside the bare library with the same requests.

Each side has a server of its own, of the same program. What both read is compared before anything is measured.
"""

import contextlib
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from pycomm3 import LogixDriver
from pymodbus.client import ModbusTcpClient
from snap7.client import Client as S7Client
from snap7.util import get_real

from edge.connectors import load_driver, open_surveyed
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.messages import Sample
from tests.bench.machine import real_time
from tests.bench.windows import Rounds, Window, interleave, p50, p99, p999
from tests.peers.logix_peer import logix_peer
from tests.peers.modbus_peer import modbus_peer
from tests.peers.s7_peer import s7_peer

REGISTERS = (100, 1000, 5000)
PER_REQUEST = 125
REALS = 500  # of a data block, one after the other
DINTS, LOGIX_REALS = 200, 100
TIMEOUT_S = 1.0
LEAST_SCANS = 20  # in a window
PLC_FIFO, CONNECT_FIFO = 55, 45
# The kernel stops real-time threads that leave others nothing (sched_rt_runtime_us): this share is left by ourselves.
REST_EVERY_S, REST_S = 0.1, 0.02


@dataclass(frozen=True)
class Side:
    """One who scans: `scan` is timed, `values` tells outside of that what was read."""

    scan: Callable[[], Any]
    values: Callable[[Any], list[Any]] = list

    def window(self, seconds: float) -> Window:
        """Scan again and again."""
        times: list[int] = []
        real = real_time(0, CONNECT_FIFO)
        self.scan()  # the caches are the other side's
        began = now = perf_counter_ns()
        end, rest = began + int(seconds * 1e9), began + int(REST_EVERY_S * 1e9)
        while now < end or len(times) < LEAST_SCANS:
            self.scan()
            done = perf_counter_ns()
            times.append(done - now)
            if real and done > rest:
                time.sleep(REST_S)
                done = perf_counter_ns()
                rest = done + int(REST_EVERY_S * 1e9)
            now = done
        real_time(0, 0)
        return Window(np.array(times) / 1e3, (now - began) / 1e9, len(times), notes={"realtime": real})


@dataclass(frozen=True)
class Match:
    """The connector, named "ours", and its floors; the first of them is the one that the ratio is taken by."""

    name: str
    sides: Mapping[str, Side]

    def agree(self) -> None:
        """Compare what all read.

        Raises:
            RuntimeError: one reads something else.
        """
        read = {name: side.values(side.scan()) for name, side in self.sides.items()}
        for name, values in read.items():
            if values != read["ours"]:
                raise RuntimeError(f"{self.name}: {name} reads {values[:3]}..., the connector {read['ours'][:3]}...")

    def fight(self, windows: int, seconds: float, advance: Callable[[], object]) -> "Scanned":
        """Interleave windows of all sides."""
        self.agree()
        rounds = interleave({name: _taker(side, seconds) for name, side in self.sides.items()}, windows, advance)
        return Scanned(self.name, rounds, tuple(name for name in self.sides if name != "ours"))


def _taker(side: Side, seconds: float) -> Callable[[], Window]:
    return lambda: side.window(seconds)


@dataclass(frozen=True)
class Scanned:
    """One match's rounds."""

    name: str
    rounds: Rounds
    floors: tuple[str, ...]

    def ratio(self, floor: str, figure: Callable[[Window], float] = p50) -> float:
        """Return the connector's figure over a floor's, the median over rounds."""
        return self.rounds.ratio("ours", floor, figure)

    @property
    def figures(self) -> dict[str, Any]:
        """What the JSON line says of it: medians over the windows; `steal` is the most in each round."""
        first, *others = self.floors
        found: dict[str, Any] = {"ratio_p50": self.ratio(first), "ratio_p99": self.ratio(first, p99)}
        found |= {f"ratio_{name}_p50": self.ratio(name) for name in others}
        for prefix, name in (("", "ours"), ("floor_", first)):
            for label, figure in (("p50", p50), ("p99", p99), ("p999", p999)):
                found[f"{prefix}{label}_us"] = self.rounds.median(name, figure)
        return found | {"windows": len(self.rounds.kept), "spoilt": self.rounds.spoilt, "steal": self.steal}

    @property
    def steal(self) -> list[float]:
        """The most that the hypervisor took of a window in each round."""
        return [max(window.steal for window in taken.values()) for taken in self.rounds.kept]


# -- the connector -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connector(driver_name: str, port: int, tags: tuple[Tag, ...]) -> Iterator[Side]:
    """A connector that scans as `SourceLink` does."""
    source = Source(driver=driver_name, port=port, tags="-", groups={}, timeout_ms=TIMEOUT_S * 1e3)
    link = open_surveyed(load_driver(driver_name), source, tags)
    link.connect()

    def scan() -> dict[str, Sample]:
        samples: dict[str, Sample] = {}
        for part in link.read(tags):
            samples |= part
        return samples

    try:
        yield Side(scan, lambda samples: [samples[tag.name].value for tag in tags])
    finally:
        link.close()


def _as_machines(*servers: subprocess.Popen[str]) -> None:
    """A PLC is another machine: it has the real-time class here, where that is permitted."""
    for server in servers:
        real_time(server.pid, PLC_FIFO)


# -- the floors --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def modbus(registers: int) -> Iterator[Match]:
    """Registers from 0 on, a tag for each, against pymodbus' synchronous client."""
    tags = tuple(Tag(name=f"Line.Register{at}", address=f"hr:{at}", type="uint16") for at in range(registers))
    ranges = [(at, min(PER_REQUEST, registers - at)) for at in range(0, registers, PER_REQUEST)]
    with modbus_peer(registers=registers) as (port, one), modbus_peer(registers=registers) as (bare_port, other):
        _as_machines(one, other)
        client = ModbusTcpClient("127.0.0.1", port=bare_port, timeout=TIMEOUT_S, retries=0)
        if not client.connect():
            raise RuntimeError("the floor's server can't be reached")

        def scan() -> list[int]:
            words: list[int] = []
            for at, count in ranges:
                answer = client.read_holding_registers(at, count=count)
                if answer.isError():
                    raise RuntimeError(f"the floor's server refuses {at}: {answer}")
                words += answer.registers
            return words

        with connector("modbus", port, tags) as ours, contextlib.closing(client):
            yield Match(f"Modbus {registers:,}", {"ours": ours, "raw": Side(scan)})


@contextlib.contextmanager
def s7() -> Iterator[Match]:
    """REALs of a data block, against python-snap7's client: the bytes alone, and each value taken out of them."""
    tags = tuple(Tag(name=f"Line.Real{n}", address=f"DB2.DBD{4 * n}", type="float32") for n in range(REALS))
    with s7_peer() as (port, one), s7_peer() as (bare_port, other):
        _as_machines(one, other)
        client = S7Client()
        client.connect("127.0.0.1", 0, 1, bare_port)

        def raw() -> bytearray:
            return client.db_read(2, 0, 4 * REALS)

        def decoded() -> list[float]:
            data = client.db_read(2, 0, 4 * REALS)
            return [get_real(data, at) for at in range(0, 4 * REALS, 4)]

        floors = {"raw": Side(raw, lambda data: list(struct.unpack(f">{REALS}f", data))), "decoded": Side(decoded)}
        try:
            with connector("s7", port, tags) as ours:
                yield Match(f"S7 {REALS}", {"ours": ours, **floors})
        finally:
            client.disconnect()


@contextlib.contextmanager
def logix() -> Iterator[Match]:
    """Single elements of arrays, in multi-reads, against pycomm3's driver, which has uploaded the tag list."""
    kinds = [("Many", n, "int32") for n in range(DINTS)] + [("Temps", n, "float32") for n in range(LOGIX_REALS)]
    names = [f"{array}[{n}]" for array, n, _ in kinds]
    tags = tuple(Tag(name=name, address=name, type=kind) for name, (_, _, kind) in zip(names, kinds, strict=True))
    with logix_peer() as (port, one), logix_peer() as (bare_port, other):
        _as_machines(one, other)
        with LogixDriver(f"127.0.0.1:{bare_port}/0") as client, connector("ethernetip", port, tags) as ours:
            bare = Side(lambda: client.read(*names), lambda answers: [answer.value for answer in answers])
            yield Match(f"Logix {len(names)}", {"ours": ours, "raw": bare})


def matches() -> dict[str, Callable[[], contextlib.AbstractContextManager[Match]]]:
    """All of them, by the path of their figures in the JSON line."""
    found: dict[str, Callable[[], contextlib.AbstractContextManager[Match]]] = {}
    for registers in REGISTERS:
        found[f"modbus {registers}"] = lambda registers=registers: modbus(registers)
    return found | {"s7": s7, "logix": logix}
