"""What only Modbus has: how few requests, whose refusal splits them, bits by mask, gateways."""

from collections.abc import Iterator

import pytest

from edge.connectors.modbus import open_connector
from edge.plc.modbus.link import ModbusConnector
from edge.plc.tags.lists import Access, Tag
from edge.settings import Source
from schemas.errors import SettingsError
from schemas.messages import Quality, Sample
from tests.peers.modbus_peer import modbus_peer


def tag(address: str, kind: str = "uint16", **fields: object) -> Tag:
    return Tag(name=f"{address}.{fields.get('bit', kind)}", address=address, type=kind, **fields)  # type: ignore[arg-type]


def source(port: int, **options: int) -> Source:
    return Source(driver="modbus", port=port, tags="-", groups={}, timeout_ms=500, options=options)


@pytest.fixture
def port() -> Iterator[int]:
    with modbus_peer() as (port, _):
        yield port


@pytest.fixture
def connector(port: int) -> Iterator[ModbusConnector]:
    made = open_connector(source(port))
    made.connect()
    yield made
    made.close()


def read(connector: ModbusConnector, tags: list[Tag]) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


def test_two_hundred_registers_take_two_requests(connector: ModbusConnector) -> None:
    tags = [tag(f"hr:{address}") for address in range(200)]
    samples = read(connector, tags)
    assert connector.requests == 2
    assert [samples[one.name].value for one in tags] == list(range(200))


def test_a_device_that_reads_fewer_at_once_is_asked_for_fewer(port: int) -> None:
    made = open_connector(source(port, max_registers=10))
    made.connect()
    read(made, [tag(f"hr:{address}") for address in range(100)])
    assert made.requests == 10
    made.close()


def test_a_refused_range_is_split_once_and_the_split_is_kept(connector: ModbusConnector) -> None:
    tags = [tag(f"hr:{address}") for address in range(184, 204)]
    first = read(connector, tags)
    asked = connector.requests
    assert sum(sample.quality is Quality.GOOD for sample in first.values()) == 16
    assert all("no such address (Modbus exception 2)" in first[f"hr:{n}.uint16"].reason for n in range(200, 204))
    assert read(connector, tags) == first
    assert connector.requests - asked < asked
    assert connector.requests - asked <= 8


def test_a_bit_is_written_without_touching_its_neighbours(connector: ModbusConnector) -> None:
    word = tag("hr:50", access=Access.WRITE)
    bits = [tag("hr:50", "bool", bit=bit, access=Access.WRITE) for bit in range(16)]
    connector.write(word, 0b0101_0101_0101_0101)
    connector.write(bits[1], True)
    connector.write(bits[0], False)
    assert read(connector, [word])[word.name].value == 0b0101_0101_0101_0110
    assert [read(connector, bits)[bit.name].value for bit in bits[:4]] == [False, True, True, False]


def test_arrays_are_written_whole(connector: ModbusConnector) -> None:
    words, bits = tag("hr:60", "float32[3]", access=Access.WRITE), tag("coil:40", "bool[3]", access=Access.WRITE)
    connector.write(words, [1.5, -2.5, 0.0])
    connector.write(bits, [True, False, True])
    samples = read(connector, [words, bits, tag("coil:43", "bool")])
    assert samples[words.name].value == [1.5, -2.5, 0.0] and samples[bits.name].value == [True, False, True]
    assert samples["coil:43.bool"].value is False


def test_every_problem_of_the_options_is_reported() -> None:
    with pytest.raises(SettingsError) as caught:
        open_connector(source(1, unit=300, gap=500))
    assert len(caught.value.problems) == 2
