"""What every file in edge/connectors/ keeps to, each against a peer that is not ours. A driver without a peer fails."""

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge.connectors import Connector, Driver, Opener, driver_names, load_driver
from edge.plc.tags.lists import Access, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample
from tests.peers.logix_peer import logix_peer
from tests.peers.modbus_peer import modbus_peer
from tests.peers.opcua_peer import shared_opcua_peer
from tests.peers.s7_peer import s7_peer
from tests.peers.serial_bus import SerialBus, rtu_unit, serial_bus

TIMEOUT_MS = 300
SLACK_S = 1.0


Babbler = Callable[[bytes], contextlib.AbstractContextManager[dict[str, object]]]


@contextlib.contextmanager
def tcp_babbler(says: bytes) -> Iterator[dict[str, object]]:
    """Who accepts one connection and says something; what to change in a source to reach it."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def serve() -> None:
            with contextlib.suppress(OSError):
                link = stack.enter_context(server.accept()[0])
                link.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield {"port": server.getsockname()[1]}


@contextlib.contextmanager
def serial_babbler(says: bytes) -> Iterator[dict[str, object]]:
    """A unit that answers each request with the same."""
    with tempfile.TemporaryDirectory() as folder, serial_bus(Path(folder)) as bus:
        bus.spoil = lambda _: [says] if says else []
        bus.babble(1)
        bus.babble(5)
        yield {"options": {"device": str(bus.port), "answer_ms": 50}}


@dataclass(frozen=True)
class Peer:
    """A running peer: how to reach it, tags with their values, one tag that it does not have, one to write."""

    source: Source
    good: dict[Tag, object]
    absent: Tag
    writable: Tag
    unwritable: Tag
    wrong_address: Tag
    stop: Callable[[], None]
    babbler: Babbler = tcp_babbler


@contextlib.contextmanager
def libmodbus() -> Iterator[Peer]:
    with modbus_peer() as (port, child):

        def stop() -> None:
            child.kill()
            child.wait(5)

        yield Peer(
            source=Source(driver="modbus", port=port, tags="-", groups={}, timeout_ms=TIMEOUT_MS),
            good={
                tag("hr:7", "uint16"): 7, tag("40012", "int16", scale=0.5): 5.5, tag("hr:20", "uint32"): 20 << 16 | 21,
                tag("hr:16", "bcd16"): 10, tag("hr:40", "uint16[3]", order="DCBA"): [0x2800, 0x2900, 0x2A00],
                tag("coil:8", "bool[3]"): [False, False, False], tag("hr:9", "int8"): 9,
                tag("coil:3", "bool"): False, tag("di:63", "bool"): False, tag("hr:5", "bool", bit=2): True,
            },
            absent=tag("hr:200", "uint16"),
            writable=tag("hr:30", "float32", access=Access.WRITE, order="CDAB"),
            unwritable=tag("hr:300", "float32", access=Access.WRITE),
            wrong_address=tag("DB1.DBW0", "uint16"),
            stop=stop,
        )  # fmt: skip


@contextlib.contextmanager
def libmodbus_rtu() -> Iterator[Peer]:
    with tempfile.TemporaryDirectory() as folder, serial_bus(Path(folder)) as bus, rtu_unit(bus, 5) as child:
        yield Peer(
            source=rtu_source(bus),
            good={
                tag("5/hr:7", "uint16"): 7, tag("5/40012", "int16", scale=0.5): 5.5, tag("hr:0", "uint16"): 5,
                tag("hr:40", "uint16[3]", order="DCBA"): [0x2800, 0x2900, 0x2A00],
                tag("coil:8", "bool[3]"): [False, False, False], tag("hr:5", "bool", bit=2): True,
            },
            absent=tag("hr:200", "uint16"),
            writable=tag("hr:30", "float32", access=Access.WRITE, order="CDAB"),
            unwritable=tag("hr:300", "float32", access=Access.WRITE),
            wrong_address=tag("248/hr:0", "uint16"),
            stop=child.kill,
            babbler=serial_babbler,
        )  # fmt: skip


def rtu_source(bus: SerialBus) -> Source:
    options = {"device": str(bus.port), "unit": 5, "answer_ms": 50}
    return Source(driver="modbus_rtu", tags="-", groups={}, timeout_ms=100, options=options)


@contextlib.contextmanager
def snap7() -> Iterator[Peer]:
    with s7_peer() as (port, child):

        def stop() -> None:
            child.kill()
            child.wait(5)

        yield Peer(
            source=Source(driver="s7", port=port, tags="-", groups={}, timeout_ms=TIMEOUT_MS),
            good={
                tag("DB1.DBW98", "uint16"): 98 << 8 | 99, tag("DB1.DBB7", "int8"): 7,
                tag("MW10", "int16", scale=0.5): 1285.5,
                tag("DB2.DBD4", "uint32", order="DCBA"): 0x07060504, tag("IW16", "bcd16"): 1011,
                tag("DB2.DBX5.0", "bool"): True, tag("Q6.0", "bool[3]"): [False, True, True],
                tag("MW6", "bool", bit=1): True, tag("DB2.DBB1000", "uint8[3]"): [232, 233, 234],
            },
            absent=tag("DB1.DBW100", "uint16"),
            writable=tag("DB2.DBD40", "float32", access=Access.WRITE, order="CDAB"),
            unwritable=tag("DB9.DBD0", "float32", access=Access.WRITE),
            wrong_address=tag("hr:7", "uint16"),
            stop=stop,
        )  # fmt: skip


@contextlib.contextmanager
def node_opcua() -> Iterator[Peer]:
    with shared_opcua_peer() as server:

        def stop() -> None:
            server.child.kill()
            server.child.wait(5)

        yield Peer(
            source=Source(
                driver="opcua", port=server.port, tags="-", groups={}, timeout_ms=TIMEOUT_MS,
                options={"max_nodes": 3, "connect_ms": 1000},
            ),
            good={
                tag("ns=2;s=Bool", "bool"): True, tag("ns=2;s=Int16", "int16", scale=0.5): -800.0,
                tag("ns=2;s=Double", "float64"): -2.25, tag("ns=2;i=1001", "int32"): 11,
                tag("nsu=urn:plantedge:test:plant;s=Floats", "float32[3]"): [1.5, 2.5, -3.5],
            },
            absent=tag("ns=2;s=Nothing", "uint16"),
            writable=tag("ns=2;s=Set.Float", "float32", access=Access.WRITE),
            unwritable=tag("ns=2;s=ReadOnly", "float32", access=Access.WRITE),
            wrong_address=tag("hr:7", "uint16"),
            stop=stop,
        )  # fmt: skip


@contextlib.contextmanager
def logix() -> Iterator[Peer]:
    """Our own simulator, which tests/edge/sim/test_logix.py holds to two foreign clients."""
    with logix_peer() as (port, child):

        def stop() -> None:
            child.kill()
            child.wait(5)

        yield Peer(
            source=Source(
                driver="ethernetip", port=port, tags="-", groups={}, timeout_ms=TIMEOUT_MS, options={"items": 4}
            ),
            good={
                tag("Speed", "float32"): 12.5, tag("Word", "int16", scale=0.5): 2330.0, tag("Big", "int64"): -(2**40),
                tag("Recipes[1].Temps[3]", "float32"): 3.5, tag("Text", "string:20"): "filler 1",
                tag("Program:Main.Local", "int32"): 55, tag("Bits", "bool", bit=2): True, tag("Bits.1", "bool"): False,
                tag("Flags[30]", "bool[3]"): [False, True, True], tag("Many[10]", "int32[3]"): [10, 11, 12],
                tag("@1/1/7", "string:32"): "PlantEdge simulated Logix",
            },
            absent=tag("Nothing", "int32"),
            writable=tag("Set", "float32", access=Access.WRITE),
            unwritable=tag("Fixed", "float32", access=Access.WRITE),
            wrong_address=tag("hr:7", "uint16"),
            stop=stop,
        )  # fmt: skip


def tag(address: str, kind: str, **fields: object) -> Tag:
    return Tag(name=f"{address}.{kind}", address=address, type=kind, **fields)  # type: ignore[arg-type]


PEERS = {"ethernetip": logix, "modbus": libmodbus, "modbus_rtu": libmodbus_rtu, "opcua": node_opcua, "s7": snap7}


@pytest.fixture(params=driver_names())
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    assert request.param in PEERS, f"edge/connectors/{request.param}.py has no independent peer here; add one"
    with PEERS[request.param]() as running:
        yield running


@pytest.fixture
def driver(peer: Peer) -> Driver:
    return load_driver(peer.source.driver)


@pytest.fixture
def connector(peer: Peer, driver: Driver) -> Iterator[Connector]:
    made = driver.open_connector(peer.source)
    made.connect()
    yield made
    made.close()


def read(connector: Connector, *tags: Tag) -> dict[str, Sample]:
    return read_all(connector, tags)


def read_all(connector: Connector, tags: tuple[Tag, ...]) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


def test_values_are_read_as_their_types(connector: Connector, peer: Peer) -> None:
    samples = read(connector, *peer.good)
    assert {one.name: samples[one.name].value for one in peer.good} == {one.name: v for one, v in peer.good.items()}
    assert all(sample.quality is Quality.GOOD for sample in samples.values())


def test_a_tag_that_is_not_there_is_bad_alone_and_again(connector: Connector, peer: Peer) -> None:
    for _ in range(3):
        samples = read(connector, *peer.good, peer.absent)
        bad = samples.pop(peer.absent.name)
        assert bad.quality is Quality.BAD and bad.reason and bad.value is None
        assert len(samples) == len(peer.good)
        assert all(sample.quality is Quality.GOOD for sample in samples.values())


def test_what_is_written_is_read_back(connector: Connector, peer: Peer) -> None:
    for value in (1.5, -273.25, 0.0):
        connector.write(peer.writable, value)
        assert read(connector, peer.writable)[peer.writable.name].value == value


def test_a_refused_write_is_the_tags_problem_and_the_link_lives(connector: Connector, peer: Peer) -> None:
    with pytest.raises(TagError):
        connector.write(peer.unwritable, 1.0)
    assert len(read(connector, *peer.good)) == len(peer.good)


def test_a_write_between_two_requests_of_a_read_is_fine(connector: Connector, peer: Peer) -> None:
    reading = connector.read([*peer.good, peer.absent])
    next(reading)
    connector.write(peer.writable, 2.5)
    rest = [name for part in reading for name in part]
    assert rest
    assert read(connector, peer.writable)[peer.writable.name].value == 2.5


def test_a_wrong_address_is_named(driver: Driver, peer: Peer) -> None:
    with pytest.raises(TagError, match=peer.wrong_address.name):
        driver.check_address(peer.wrong_address)
    for one in (*peer.good, peer.writable):
        driver.check_address(one)


def test_options_that_are_not_known_are_settings_errors(driver: Driver, peer: Peer) -> None:
    with pytest.raises(SettingsError, match="no_such_option"):
        driver.open_connector(peer.source.model_copy(update={"options": {"no_such_option": 1}}))


def test_a_dead_peer_is_a_connector_error_soon(connector: Connector, driver: Driver, peer: Peer) -> None:
    peer.stop()
    began = time.monotonic()
    with pytest.raises(ConnectorError) as caught:
        read(connector, *peer.good)
    assert not isinstance(caught.value, TagError)
    connector.close()
    second = driver.open_connector(peer.source)
    with pytest.raises(ConnectorError):
        second.connect()
        read(second, *peer.good)
    second.close()
    assert time.monotonic() - began < 2 * TIMEOUT_MS / 1e3 + SLACK_S


def test_a_connector_that_lost_its_link_stays_lost(connector: Connector, peer: Peer) -> None:
    connector.close()
    connector.close()
    with pytest.raises(ConnectorError):
        read(connector, *peer.good)
    with pytest.raises(ConnectorError):
        connector.write(peer.writable, 1.0)


def test_a_new_connector_takes_over(connector: Connector, driver: Driver, peer: Peer) -> None:
    connector.close()
    second = driver.open_connector(peer.source)
    second.connect()
    assert len(read(second, *peer.good)) == len(peer.good)
    second.close()


def test_the_next_connector_to_a_source_plans_nothing_anew(driver: Driver, peer: Peer) -> None:
    if peer.source.driver == "opcua":
        pytest.skip("a server's limits, which its plans need, are asked for with each session")
    many = tuple(replace(one, name=f"{one.name}.{turn}") for turn in range(50) for one in peer.good)
    opener = Opener(driver, peer.source, many)
    spent: list[float] = []
    for _ in range(3):
        began = time.thread_time()
        connector = opener.open()
        spent.append(time.thread_time() - began)
        connector.connect()
        began = time.thread_time()
        samples = read_all(connector, many)
        spent[-1] += time.thread_time() - began
        assert all(sample.quality is Quality.GOOD for sample in samples.values())
        assert [samples[one.name].value for one in many[: len(peer.good)]] == list(peer.good.values())
        began = time.thread_time()
        read_all(connector, many)
        spent[-1] -= time.thread_time() - began
        assert read(connector, peer.absent)[peer.absent.name].quality is Quality.BAD
        connector.close()
    assert min(spent[1:]) < spent[0] / 2, f"processor time, beside that of a second read: {spent}"


@pytest.mark.parametrize("says", [b"", b"\0\1\0\0\0\3\1\x83\2garbage" * 20, bytes(range(256)), b"\xff" * 300])
def test_a_peer_that_says_nothing_or_rubbish_is_a_connector_error(driver: Driver, peer: Peer, says: bytes) -> None:
    with peer.babbler(says) as elsewhere:
        connector = driver.open_connector(peer.source.model_copy(update=elsewhere))
        began = time.monotonic()
        with pytest.raises(ConnectorError) as caught:
            connector.connect()
            read(connector, *peer.good)
        assert not isinstance(caught.value, TagError)
        assert time.monotonic() - began < TIMEOUT_MS / 1e3 + SLACK_S
        connector.close()
