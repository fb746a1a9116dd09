"""Every answer of a recorded conversation, cut at each byte, and with each bit flipped: no crash, hang or wrong value.

Each driver speaks to its peer once, through a recorder; then a server replays the peer's side and spoils one answer.
`./run test` takes a sample of the cases, `./run test soak` all of them.

A protocol without a checksum can't tell a value from its neighbour one bit away: such a flip may change the tag whose
bit it is, and no other. RTU has a checksum: there nothing may change.
"""

import contextlib
import gc
import itertools
import math
import random
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from edge.connectors import Connector, driver_names, load_driver
from edge.plc.tags.lists import Access, Native, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, TagError
from schemas.messages import Quality, Sample
from tests.peers.conversations import (
    S7,
    Dialect,
    EtherNetIp,
    Exchange,
    HostileServer,
    ModbusTcp,
    OpcUa,
    Recording,
    Spoiling,
    Spoilt,
    recorder,
)
from tests.peers.hostile_line import HostileLine, line_recorder
from tests.peers.logix_peer import logix_peer
from tests.peers.modbus_peer import modbus_peer
from tests.peers.opcua_peer import shared_opcua_peer
from tests.peers.s7_peer import libsnap7, s7_peer
from tests.peers.serial_bus import rtu_unit, serial_bus

PATIENT = 40.0  # times the timeouts of a spoilt conversation
MARGIN_S = 1.0
MOST_MEMORY_KB = 64 * 1024
QUICK_HELD, QUICK_FLIPS, QUICK_CUTS, QUICK_SILENCES = 600, 200, 120, 15
UNIT = 5


@dataclass(frozen=True)
class Lies:
    """Where the bits of a value lie: behind these bytes of an answer, these bytes, of which these bits."""

    behind: bytes
    value: bytes
    mask: bytes = b""

    def bits(self, answer: bytes) -> set[int]:
        at = answer.find(self.behind + self.value)
        if at < 0:
            return set()
        assert answer.count(self.behind + self.value) == 1
        first = 8 * (at + len(self.behind))
        mask = int.from_bytes(self.mask or b"\xff" * len(self.value), "little")
        return {first + bit for bit in range(8 * len(self.value)) if mask >> bit & 1}


@dataclass(frozen=True)
class Reach:
    """What a source needs to reach a server."""

    port: int = 502
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Talk:
    """What is said: tags with their values (None: the peer has none), writes, one write that the peer refuses."""

    driver: str
    values: dict[Tag, object]
    lies: dict[str, Lies]
    written: dict[Tag, Native]
    refused: Tag
    timeout_ms: float = 20
    options: dict[str, int] = field(default_factory=dict)
    timed: dict[str, float] = field(default_factory=dict)  # options that are timeouts in ms

    def limit_s(self, patience: float) -> float:
        """How long a call may take that comes upon a spoilt answer."""
        return patience * max(self.timeout_ms, *self.timed.values(), 0) / 1e3 + MARGIN_S

    def source(self, reach: Reach, patience: float) -> Source:
        return Source(
            driver=self.driver, tags="-", groups={}, port=reach.port, timeout_ms=patience * self.timeout_ms,
            options=self.options | {name: patience * ms for name, ms in self.timed.items()} | reach.options,
        )  # fmt: skip


def tag(address: str, kind: str, **fields: object) -> Tag:
    return Tag(name=f"{address}.{kind}", address=address, type=kind, **fields)  # type: ignore[arg-type]


def rw(address: str, kind: str) -> Tag:
    return tag(address, kind, access=Access.WRITE)


MODBUS = Talk(
    driver="modbus",
    values={
        tag("hr:161", "uint16"): 161, tag("hr:163", "uint32"): 163 << 16 | 164, tag("hr:166", "bool", bit=1): True,
        tag("hr:300", "uint16"): None, tag("coil:3", "bool"): False,
    },
    lies={
        "hr:161.uint16": Lies(b"", b"\0\xa1"), "hr:163.uint32": Lies(b"", b"\0\xa3\0\xa4"),
        "hr:166.bool": Lies(b"\0", b"\xa6", b"\2"), "coil:3.bool": Lies(b"\1\1", b"\0", b"\1"),
    },
    written={rw("hr:30", "float32"): 1.5, rw("coil:9", "bool"): True},
    refused=rw("hr:300", "float32"),
)  # fmt: skip
RTU = Talk(
    driver="modbus_rtu", values=MODBUS.values, lies={}, written=MODBUS.written, refused=MODBUS.refused, timeout_ms=10,
    options={"unit": UNIT, "baudrate": 4_000_000}, timed={"answer_ms": 10},
)  # fmt: skip
S7_TALK = Talk(
    driver="s7",
    values={
        tag("DB1.DBW20", "uint16"): 0x1415, tag("DB2.DBD90", "uint32"): 0x5A5B5C5D, tag("DB2.DBX97.6", "bool"): True,
        tag("DB9.DBW0", "uint16"): None, tag("MW200", "int16"): 0xC8C9 - 0x10000,
    },
    lies={
        "DB1.DBW20.uint16": Lies(b"", b"\x14\x15"), "DB2.DBD90.uint32": Lies(b"", b"\x5a\x5b\x5c\x5d"),
        "DB2.DBX97.6.bool": Lies(b"\x60", b"\x61", b"\x40"), "MW200.int16": Lies(b"", b"\xc8\xc9"),
    },
    written={rw("DB2.DBD40", "float32"): 1.5, rw("DB2.DBX50.1", "bool"): True},
    refused=rw("DB9.DBD0", "float32"),
)  # fmt: skip
LOGIX = Talk(
    driver="ethernetip",
    values={
        tag("Speed", "float32"): 12.5, tag("Word", "int16"): 0x1234, tag("Big", "int64"): -(2**40),
        tag("Text", "string:20"): "filler 1", tag("Nothing", "int32"): None, tag("Bits.2", "bool"): True,
        tag("Many[10]", "int32[3]"): [10, 11, 12], tag("@1/1/7", "string:32"): "PlantEdge simulated Logix",
    },
    lies={
        "Speed.float32": Lies(b"\xca\0", b"\0\0\x48\x41"), "Word.int16": Lies(b"\xc3\0", b"\x34\x12"),
        "Big.int64": Lies(b"\xc5\0", b"\0\0\0\0\0\xff\xff\xff"),
        "Text.string:20": Lies(b"", b"\x08\0\0\0filler 1" + bytes(74)),
        "Bits.2.bool": Lies(b"\xc4\0", b"\5\0\0\x80", b"\4\0\0\0"),
        "Many[10].int32[3]": Lies(b"\xc4\0", b"\x0a\0\0\0\x0b\0\0\0\x0c\0\0\0"),
        "@1/1/7.string:32": Lies(b"", b"\x19PlantEdge simulated Logix"),
    },
    written={rw("Set", "float32"): 1.5},
    refused=rw("Fixed", "float32"),
    options={"items": 4},
)  # fmt: skip
OPCUA = Talk(
    driver="opcua",
    values={
        tag("ns=2;s=Bool", "bool"): True, tag("ns=2;s=Int16", "int16"): -1600, tag("ns=2;s=Double", "float64"): -2.25,
        tag("ns=2;s=Nothing", "int32"): None, tag("ns=2;i=1001", "int32"): 11,
        tag("ns=2;s=UInt64", "uint64"): 1 << 32 | 2, tag("ns=2;s=Time", "datetime"): "2026-05-01T12:30:00.250000Z",
        tag("ns=2;s=Floats", "float32[3]"): [1.5, 2.5, -3.5], tag("ns=2;s=String", "string:20"): "h\xe9llo",
    },
    lies={
        "ns=2;s=Bool.bool": Lies(b"\x09\0\0\0\1\1", b"\1"), "ns=2;s=Int16.int16": Lies(b"\1\4", b"\xc0\xf9"),
        "ns=2;s=Double.float64": Lies(b"\1\x0b", b"\0\0\0\0\0\0\x02\xc0"),
        "ns=2;i=1001.int32": Lies(b"\1\6", b"\x0b\0\0\0"), "ns=2;s=UInt64.uint64": Lies(b"\1\x09", b"\2\0\0\0\1\0\0\0"),
        "ns=2;s=Time.datetime": Lies(b"\1\x0d", b"\xa0\x39\x50\x3a\x66\xd9\xdc\1"),
        "ns=2;s=Floats.float32[3]": Lies(b"\1\x8a\3\0\0\0", b"\0\0\xc0\x3f\0\0\x20\x40\0\0\x60\xc0"),
        "ns=2;s=String.string:20": Lies(b"\1\x0c\6\0\0\0", b"h\xc3\xa9llo"),
    },
    written={rw("ns=2;s=Set.Float", "float32"): 1.5},
    refused=rw("ns=2;s=ReadOnly", "float32"),
    timed={"connect_ms": 60},
)  # fmt: skip


# -- the two ways to a peer --------------------------------------------------------------------------------------------


class Server(Protocol):
    """Who replays a recording and spoils one answer of it."""

    spoilt: Spoilt | None
    sent: bool
    astray: list[bytes]


@dataclass(frozen=True)
class Stage:
    """A hostile server: what to change in a source to reach it, what it was recorded from, which answers to spoil."""

    talk: Talk
    reach: Reach
    server: Server
    exchanges: list[Exchange]
    spoilable: list[int]
    ways: tuple[Spoiling, ...]

    def cases(self) -> list[Spoilt]:
        found: list[Spoilt] = []
        for number in self.spoilable:
            size = len(self.exchanges[number].answer)
            found += [Spoilt(number, how, at) for how in self.ways if how != "flipped" for at in range(size)]
            found += [Spoilt(number, "flipped", bit) for bit in range(8 * size)]
        return found

    def owner(self, case: Spoilt) -> str:
        """The tag whose own bit is flipped."""
        if case.how == "flipped":
            for name, lies in self.talk.lies.items():
                if case.at in lies.bits(self.exchanges[case.number].answer):
                    return name
        return ""


def rehearse(talk: Talk, reach: Reach, exchanges: list[Exchange]) -> list[int]:
    """Say once to the peer what will be said, and what a driver may ask besides once it was refused: parts of it.

    Returns the numbers of the exchanges whose answers are to be spoilt.
    """
    made = load_driver(talk.driver).open_connector(talk.source(reach, PATIENT))
    told = Told()
    say(talk, made, told, math.inf)
    assert told.as_it_is(talk) and not told.lost
    said = len(exchanges)
    tags = list(talk.values)
    for first, end in itertools.combinations(range(len(tags) + 1), 2):
        read(made, tags[first:end])
    closing = len(exchanges)
    made.close()
    return [*range(said), *range(closing, len(exchanges))]


@contextlib.contextmanager
def on_a_network(talk: Talk, dialect: Callable[[], Dialect], port: int) -> Iterator[Stage]:
    recording = Recording(dialect)
    with recorder(port, recording) as through:
        spoken = rehearse(talk, Reach(through), recording.exchanges)
    server = HostileServer(recording)
    first = set(recording.library().values())
    spoilable = [number for number in spoken if number in first and recording.exchanges[number].answer]
    ways: tuple[Spoiling, ...] = ("cut and closed", "cut and silent", "cut as said", "flipped")
    with server.listening() as at:
        yield Stage(talk, Reach(at), server, recording.exchanges, spoilable, ways)


@contextlib.contextmanager
def on_a_line(talk: Talk) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as folder, serial_bus(Path(folder)) as bus:
        reach: Reach = Reach(options={"device": str(bus.port)})
        with rtu_unit(bus, UNIT), line_recorder(bus) as exchanges:
            spoken = rehearse(talk, reach, exchanges)
    with tempfile.TemporaryDirectory() as folder, serial_bus(Path(folder)) as bus:
        reach = Reach(options={"device": str(bus.port)})
        server = HostileLine(bus, UNIT, exchanges)
        first = set(server.library.values())
        spoilable = [number for number in spoken if number in first]
        yield Stage(talk, reach, server, exchanges, spoilable, ("cut and silent", "cut as said", "flipped"))


@contextlib.contextmanager
def modbus() -> Iterator[Stage]:
    with modbus_peer() as (port, _), on_a_network(MODBUS, ModbusTcp, port) as stage:
        yield stage


@contextlib.contextmanager
def s7() -> Iterator[Stage]:
    with s7_peer() as (port, _), on_a_network(S7_TALK, S7, port) as stage:
        yield stage


@contextlib.contextmanager
def s7_of_libsnap7() -> Iterator[Stage]:
    with s7_peer(libsnap7()) as (port, _), on_a_network(S7_TALK, S7, port) as stage:
        yield stage


@contextlib.contextmanager
def ethernetip() -> Iterator[Stage]:
    with logix_peer() as (port, _), on_a_network(LOGIX, EtherNetIp, port) as stage:
        yield stage


@contextlib.contextmanager
def opcua() -> Iterator[Stage]:
    with shared_opcua_peer() as peer, on_a_network(OPCUA, OpcUa, peer.port) as stage:
        yield stage


PARTS = {"ethernetip": 2, "opcua": 12}  # all cases of these take an hour: so many tests, of as many cases each
STAGES = {
    "modbus": modbus, "modbus_rtu": lambda: on_a_line(RTU), "s7": s7, "s7 of libsnap7": s7_of_libsnap7,
    "ethernetip": ethernetip, "opcua": opcua,
}  # fmt: skip


# -- one case ----------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What came of a conversation: two scans (a tag that is not Good has no value), and which writes were done."""

    first: dict[str, object] = field(default_factory=dict)
    again: dict[str, object] = field(default_factory=dict)
    done: dict[str, bool] = field(default_factory=dict)
    lost: bool = False

    def as_it_is(self, talk: Talk) -> bool:
        values = {one.name: value for one, value in talk.values.items()}
        done = {one.name: True for one in talk.written} | {talk.refused.name: False}
        return (self.first, self.again, self.done) == (values, values, done)


def read(connector: Connector, tags: list[Tag]) -> dict[str, object]:
    samples: dict[str, Sample] = {}
    for part in connector.read(tags):
        samples |= part
    assert samples.keys() == {one.name for one in tags}
    return {name: one.value if one.quality is Quality.GOOD else None for name, one in samples.items()}


def say(talk: Talk, connector: Connector, told: Told, limit_s: float) -> None:
    """Have the conversation, up to where the link is lost; each call within its limit."""
    tags = list(talk.values)
    with within(limit_s):
        connector.connect()
    with within(limit_s):
        told.first = read(connector, tags)
    for one, value in [*talk.written.items(), (talk.refused, 1.0)]:
        with within(limit_s):
            try:
                connector.write(one, value)
                told.done[one.name] = True
            except TagError:
                told.done[one.name] = False
    with within(limit_s):
        told.again = read(connector, tags)


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        assert time.monotonic() - began < limit_s


def survive(stage: Stage, case: Spoilt | None, patience: float) -> Told:
    """One conversation with a spoilt answer; an error that is not of the tree fails the test."""
    talk, told = stage.talk, Told()
    stage.server.spoilt = case
    made = load_driver(talk.driver).open_connector(talk.source(stage.reach, patience))
    try:
        say(talk, made, told, talk.limit_s(patience))
    except ConnectorError as error:
        assert not isinstance(error, TagError)
        told.lost = True
    finally:
        with within(talk.limit_s(patience)):
            made.close()
    return told


def judge(stage: Stage, case: Spoilt, told: Told) -> str:
    """What a case came to; fails for a value that is not so and lies elsewhere than in the flipped bit."""
    talk = stage.talk
    truth = {one.name: value for one, value in talk.values.items()}
    wrong = [name for name, value in told.first.items() if value is not None and value != truth[name]]
    wrong += [name for name, value in told.again.items() if value is not None and value != truth[name]]
    assert told.done.get(talk.refused.name) is not True, f"{case}: a refused write is said to be done"
    if wrong:
        owner = stage.owner(case)
        values = {name: told.first.get(name) for name in wrong}
        assert wrong == [owner], f"{case} made {values} of {stage.exchanges[case.number].answer.hex(' ')}"
        return "undetectable"
    return "true" if told.as_it_is(talk) else "bad"


def run(stage: Stage, cases: list[Spoilt]) -> Counter[str]:
    """All cases, with a fresh conversation after each hundredth and at the end."""
    counts: Counter[str] = Counter()
    for number, case in enumerate(cases):
        counts[one_case(stage, case)] += 1
        if number % 100 == 0:
            fresh(stage)
    fresh(stage)
    return counts


def one_case(stage: Stage, case: Spoilt) -> str:
    """A busy machine may not come to the spoilt answer in so short a time; it is given more then."""
    for patience in (1.0, 5.0, PATIENT):
        came_to = judge(stage, case, survive(stage, case, patience))
        if stage.server.sent:
            return came_to
    raise AssertionError(f"{case}: the spoilt answer was never asked for")


def fresh(stage: Stage) -> None:
    told = survive(stage, None, PATIENT)
    assert told.as_it_is(stage.talk) and not told.lost


# -- all cases ---------------------------------------------------------------------------------------------------------


def bounded(stage: Stage, cases: list[Spoilt]) -> Counter[str]:
    """`run`, and nothing of it is left: no thread, no file, no memory."""
    fresh(stage)
    gc.collect()
    threads, files = threading.active_count(), open_files()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = run(stage, cases)
    gc.collect()
    assert threading.active_count() <= threads
    assert open_files() <= files + 1  # the server's end of the last connection
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MOST_MEMORY_KB
    print(f"{stage.talk.driver}: {len(cases)} cases, {dict(counts)}; {len(stage.server.astray)} questions astray")
    return counts


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def quick(stage: Stage) -> list[Spoilt]:
    """A sample: most of the flips of answers that hold values, few of the cuts that cost a timeout each."""
    held = {n for n in stage.spoilable for one in stage.talk.lies.values() if one.bits(stage.exchanges[n].answer)}
    kinds: dict[str, list[Spoilt]] = {}
    for case in stage.cases():
        kinds.setdefault("held" if case.how == "flipped" and case.number in held else case.how, []).append(case)
    most = {"held": QUICK_HELD, "flipped": QUICK_FLIPS, "cut and silent": QUICK_SILENCES}
    chosen = random.Random(5)
    return [
        case
        for kind, cases in kinds.items()
        for case in chosen.sample(cases, min(len(cases), most.get(kind, QUICK_CUTS)))
    ]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", STAGES)
def test_a_spoilt_answer_is_never_another_value(name: str) -> None:
    with STAGES[name]() as stage:
        counts = bounded(stage, quick(stage))
    assert counts["bad"] and counts["true"]
    assert bool(counts["undetectable"]) == (name != "modbus_rtu")  # its checksum tells


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "part"), [(name, part) for name in STAGES for part in range(PARTS.get(name, 1))])
def test_no_spoilt_answer_at_all_is_another_value(name: str, part: int) -> None:
    with STAGES[name]() as stage:
        bounded(stage, stage.cases()[part :: PARTS.get(name, 1)])


@pytest.mark.slow
def test_an_array_of_nothing_does_not_fill_the_memory() -> None:
    """OPC UA can say in six bytes that there are two thousand million of what takes no room."""
    with opcua() as stage:
        lies = OPCUA.lies["ns=2;s=Bool.bool"]
        (number,) = (n for n in stage.spoilable if lies.bits(stage.exchanges[n].answer))
        asked, answer = stage.exchanges[number].request, stage.exchanges[number].answer
        at = answer.find(lies.behind) + 4
        nothing = answer[:at] + b"\1\x80\xff\xff\xff\x7f" + answer[at + 3 :]
        stage.exchanges[number] = Exchange(asked, OpcUa.framing.telling(nothing))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fresh(stage)  # the nodes are read by halves, which the server answers well
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MOST_MEMORY_KB


def test_every_driver_is_spoken_to() -> None:
    assert set(driver_names()) <= set(STAGES)
