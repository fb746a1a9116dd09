"""Several units on one serial line or behind one gateway: what is wrong with one costs the others next to nothing."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.connectors import modbus, modbus_rtu, open_surveyed
from edge.plc.modbus.link import ModbusConnector
from edge.plc.tags.lists import Access, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample
from tests.peers.serial_bus import SerialBus, rtu_unit, serial_bus

pytestmark = pytest.mark.alone

RECOVERY_S = 8.0


def tag(address: str, kind: str = "uint16", **fields: object) -> Tag:
    return Tag(name=address, address=address, type=kind, **fields)  # type: ignore[arg-type]


def rtu_source(bus: SerialBus, timeout_ms: float = 300, **options: object) -> Source:
    told = {"device": str(bus.port), "answer_ms": 40} | options
    return Source(driver="modbus_rtu", tags="-", groups={}, timeout_ms=timeout_ms, options=told)  # type: ignore[arg-type]


def opened(bus: SerialBus, *tags: Tag, timeout_ms: float = 300, **options: object) -> ModbusConnector:
    made = open_surveyed(modbus_rtu, rtu_source(bus, timeout_ms, **options), tags)
    assert isinstance(made, ModbusConnector)
    made.connect()
    return made


def read(connector: ModbusConnector, *tags: Tag) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


def until(condition: Callable[[], bool], timeout_s: float = RECOVERY_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SerialBus]:
    with serial_bus(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_a_dead_unit_makes_its_own_tags_bad_and_is_not_asked_at_each_scan(bus: SerialBus) -> None:
    tags = tag("1/hr:0"), tag("2/hr:0"), tag("9/hr:0")
    with rtu_unit(bus, 1), rtu_unit(bus, 2):
        made = opened(bus, *tags)
        read(made, *tags)
        asked = len(bus.asked)
        began = time.monotonic()
        for _ in range(50):
            samples = read(made, *tags)
            assert (samples["1/hr:0"].value, samples["2/hr:0"].value) == (1, 2)
            assert samples["9/hr:0"].quality is Quality.BAD and "unit 9: no answer" in samples["9/hr:0"].reason
        elapsed = time.monotonic() - began
        to_dead = [piece for piece in bus.asked[asked:] if piece[0] == 9]
        assert len(to_dead) <= 3, "0.2 s, 0.4 s, 0.8 s..."
        assert elapsed < 50 * 0.02 + len(to_dead) * 0.2
        made.close()


@pytest.mark.slow
def test_a_unit_comes_back_by_itself(bus: SerialBus) -> None:
    tags = tag("1/hr:0"), tag("2/hr:0")
    with rtu_unit(bus, 1):
        made = opened(bus, *tags)
        for _ in range(3):
            assert read(made, *tags)["2/hr:0"].quality is Quality.BAD
        with rtu_unit(bus, 2):
            until(lambda: read(made, *tags)["2/hr:0"].value == 2)
        made.close()


def test_a_line_whose_every_unit_is_silent_is_lost(bus: SerialBus) -> None:
    with rtu_unit(bus, 1) as one, rtu_unit(bus, 2) as two:
        made = opened(bus, tag("1/hr:0"), tag("2/hr:0"))
        one.kill()
        assert read(made, tag("1/hr:0"))["1/hr:0"].quality is Quality.BAD
        two.kill()
        with pytest.raises(ConnectorError, match="unit 2: no answer"):
            read(made, tag("2/hr:0"))
        made.close()


def test_a_dead_unit_that_is_asked_first_does_not_lose_the_line(bus: SerialBus) -> None:
    with rtu_unit(bus, 2):
        made = opened(bus, tag("1/hr:0"), tag("2/hr:0"))
        assert read(made, tag("1/hr:0"))["1/hr:0"].quality is Quality.BAD
        assert read(made, tag("2/hr:0"))["2/hr:0"].value == 2
        made.close()


@pytest.mark.slow
def test_a_unit_that_missed_a_write_gets_a_new_connection_when_it_is_back(bus: SerialBus) -> None:
    tags = tag("1/hr:0"), tag("2/hr:50", access=Access.WRITE)
    with rtu_unit(bus, 1):
        made = opened(bus, *tags)
        read(made, *tags)
        with pytest.raises(TagError, match="unit 2"):
            made.write(tags[1], 7)
        with rtu_unit(bus, 2):

            def told() -> bool:
                try:
                    read(made, *tags)
                except ConnectorError as error:
                    return "fail-safe" in str(error)
                return False

            until(told)
            made.close()
            fresh = opened(bus, *tags)
            fresh.write(tags[1], 7)
            assert read(fresh, *tags)["2/hr:50"].value == 7
            fresh.close()


def test_a_broken_checksum_costs_one_more_request_and_no_wrong_value(bus: SerialBus) -> None:
    one = tag("hr:7")
    with rtu_unit(bus, 1):
        made = opened(bus, one)
        assert read(made, one)["hr:7"].value == 7
        spoilt: list[bytes] = []

        def flip_first(piece: bytes) -> list[bytes]:
            if spoilt:
                return [piece]
            spoilt.append(piece)
            return [piece[:3] + bytes([piece[3] ^ 0x40]) + piece[4:]]

        bus.spoil = flip_first
        assert read(made, one)["hr:7"].value == 7 and spoilt
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize("late_s", [0.06, 0.1, 0.2, 0.28])
def test_a_late_answer_is_never_taken_for_that_of_a_later_request(bus: SerialBus, late_s: float) -> None:
    first, second = tag("hr:10"), tag("hr:60")  # answers of the same shape
    with rtu_unit(bus, 1):
        made = opened(bus, first, second)
        assert read(made, first)["hr:10"].value == 10
        due, delayed = [0.0], [0]

        def delay(piece: bytes) -> list[bytes]:
            """Say three answers late; a unit answers in order, so what follows waits for them."""
            delayed[0] += 1
            due[0] = max(due[0] + 0.005, time.monotonic() + (late_s if delayed[0] <= 3 else 0))
            threading.Timer(max(0.0, due[0] - time.monotonic()), bus.say, [piece]).start()
            return []

        bus.spoil = delay
        seen: list[object] = []
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            try:
                seen += [read(made, one)[one.name].value for one in (first, second, first)]
                assert all(value in (wanted, None) for value, wanted in zip(seen[-3:], (10, 60, 10), strict=True))
            except ConnectorError:
                made.close()
                made = opened(bus, first, second)
        assert 10 in seen and 60 in seen and delayed[0] > 3
        made.close()


def test_another_units_answer_is_not_taken(bus: SerialBus) -> None:
    one = tag("hr:7")
    with rtu_unit(bus, 1):
        made = opened(bus, one)
        read(made, one)
        bus.spoil = lambda _: [bytes.fromhex("0203020063bc6d")]  # unit 2's: 99, with a right checksum
        with pytest.raises(ConnectorError, match="no usable answer"):
            read(made, one)
        made.close()


@pytest.mark.slow
def test_a_register_that_gets_no_answer_is_bad_alone_and_soon_costs_nothing(bus: SerialBus) -> None:
    good, mute = tag("hr:7"), tag("hr:60")

    def swallow(piece: bytes) -> list[bytes]:
        wanted = bus.asked[-1]
        start, count = struct.unpack(">HH", wanted[2:6])
        return [] if wanted[1] == 3 and start <= 60 < start + count else [piece]

    bus.spoil = swallow
    with rtu_unit(bus, 1):
        made = opened(bus, good, mute, gap=60)
        for _ in range(2):
            samples = read(made, good, mute)
            assert samples["hr:7"].value == 7
            assert samples["hr:60"].quality is Quality.BAD and "the unit answers others" in samples["hr:60"].reason
        began = time.monotonic()
        for _ in range(5):
            assert read(made, good, mute)["hr:7"].value == 7
        assert time.monotonic() - began < 0.2 + 0.3
        made.close()


def test_an_adapter_that_hears_itself_is_told_so(bus: SerialBus) -> None:
    bus.echo = True
    with rtu_unit(bus, 1):
        made = opened(bus, tag("hr:7"), echo=True)
        assert read(made, tag("hr:7"))["hr:7"].value == 7
        made.close()


def test_a_port_is_for_one_source(bus: SerialBus) -> None:
    with rtu_unit(bus, 1):
        made = opened(bus, tag("hr:0"))
        with pytest.raises(ConnectorError, match="another program or source has it"):
            opened(bus, tag("hr:0"))
        made.close()


def test_an_adapter_that_is_pulled_is_told_and_works_when_it_is_back(bus: SerialBus) -> None:
    with rtu_unit(bus, 1):
        made = opened(bus, tag("hr:7"))
        assert read(made, tag("hr:7"))["hr:7"].value == 7
        bus.unplug()
        with pytest.raises(ConnectorError, match="the port is lost"):
            read(made, tag("hr:7"))
        made.close()
        with pytest.raises(ConnectorError, match="no such device"):
            opened(bus, tag("hr:7"))
        bus.plug()
        made = opened(bus, tag("hr:7"))
        assert read(made, tag("hr:7"))["hr:7"].value == 7
        made.close()


def test_a_port_has_to_be_named_and_a_unit_is_one_that_a_line_can_have(bus: SerialBus) -> None:
    with pytest.raises(SettingsError, match="option device"):
        modbus_rtu.open_connector(Source(driver="modbus_rtu", tags="-", groups={}))
    for wrong in ("0/hr:0", "248/hr:0"):
        with pytest.raises(TagError, match="1 to 247"):
            modbus_rtu.check_address(tag(wrong))
    with pytest.raises(TagError, match="up to 255"):
        modbus.check_address(tag("256/hr:0"))


@pytest.mark.slow
def test_a_unit_with_tags_in_all_four_tables_is_trusted_after_silence(bus: SerialBus) -> None:
    tags = tag("hr:7"), tag("ir:0"), tag("coil:0", "bool"), tag("di:0", "bool")
    with rtu_unit(bus, 1):
        made = opened(bus, *tags)
        samples = read(made, *tags)
        assert all(sample.quality is Quality.GOOD for sample in samples.values())
        assert samples["hr:7"].value == 7
        made.close()


# -- hostile lines -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_answer_cut_at_each_byte_or_with_each_bit_flipped_is_never_a_wrong_value(bus: SerialBus) -> None:
    tags = tag("hr:10"), tag("hr:11", "bool", bit=0), tag("coil:3", "bool")
    expected = {"hr:10": 10, "hr:11": True, "coil:3": False}
    with rtu_unit(bus, 1):
        said: list[bytes] = []
        bus.spoil = lambda piece: said.append(piece) or [piece]  # type: ignore[func-returns-value]
        made = opened(bus, *tags, timeout_ms=15)
        assert {name: sample.value for name, sample in read(made, *tags).items()} == expected
        made.close()
        changes: list[tuple[int, Callable[[bytes], bytes]]] = []
        for number, frame in enumerate(said):
            changes += [(number, lambda piece, cut=cut: piece[:cut]) for cut in range(len(frame))]
            changes += [(number, lambda piece, bit=bit: _flipped(piece, bit)) for bit in range(8 * len(frame))]
        for number, change in changes:
            count = iter(range(1000))
            bus.spoil = lambda piece, n=number, f=change, c=count: [f(piece)] if next(c) == n else [piece]
            began = time.monotonic()
            with contextlib.suppress(ConnectorError):
                made = opened(bus, *tags, timeout_ms=15)
                for name, sample in read(made, *tags).items():
                    assert sample.value in (expected[name], None)
            assert time.monotonic() - began < 1.0
            made.close()


def _flipped(piece: bytes, bit: int) -> bytes:
    return piece[: bit // 8] + bytes([piece[bit // 8] ^ 1 << bit % 8]) + piece[bit // 8 + 1 :]


# -- a gateway ---------------------------------------------------------------------------------------------------------

Answer = Callable[[int], bytes | None]


@contextlib.contextmanager
def gateway(answers: Answer) -> Iterator[int]:
    """A Modbus TCP gateway: what it says for a unit (function and data), None for nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(link: socket.socket) -> None:
            with contextlib.suppress(OSError, struct.error), link:
                while head := link.recv(7, socket.MSG_WAITALL):
                    number, _, length, unit = struct.unpack(">HHHB", head)
                    link.recv(length - 1, socket.MSG_WAITALL)
                    if (said := answers(unit)) is not None:
                        link.sendall(struct.pack(">HHHB", number, 0, len(said) + 1, unit) + said)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts


@pytest.mark.parametrize("dead", [b"\x83\x0a", b"\x83\x0b", None])
def test_behind_a_gateway_a_dead_unit_makes_its_own_tags_bad(dead: bytes | None) -> None:
    tags = tag("1/hr:0"), tag("2/hr:0")
    living = {1}
    with gateway(lambda unit: b"\x03\x02\0\x07" if unit in living else dead) as port:
        source = Source(driver="modbus", port=port, tags="-", groups={}, timeout_ms=100)
        made = open_surveyed(modbus, source, tags)
        assert isinstance(made, ModbusConnector)
        made.connect()
        for _ in range(3):
            samples = read(made, *tags)
            assert samples["1/hr:0"].value == 7 and samples["2/hr:0"].quality is Quality.BAD
            assert "unit 2" in samples["2/hr:0"].reason
        living.add(2)
        until(lambda: read(made, *tags)["2/hr:0"].value == 7)
        living.clear()
        with pytest.raises(ConnectorError):
            for _ in range(3):
                read(made, *tags)
        made.close()
