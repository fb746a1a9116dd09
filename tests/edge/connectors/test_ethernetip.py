"""What only EtherNet/IP has: types that are compared, bits, strings, fragments, packets, routes, families."""

import struct
from collections.abc import Iterator

import pytest

from edge.connectors.ethernetip import EtherNetIpConnector, check_address, open_connector, planned
from edge.plc.tags.lists import Access, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample
from tests.peers.logix_peer import logix_peer


def tag(address: str, kind: str = "int32", **fields: object) -> Tag:
    return Tag(name=f"{address}.{kind}", address=address, type=kind, **fields)  # type: ignore[arg-type]


def source(port: int, **options: str | int) -> Source:
    return Source(driver="ethernetip", port=port, tags="-", groups={}, timeout_ms=1000, options=dict(options))


def opened(port: int, **options: str | int) -> EtherNetIpConnector:
    made = open_connector(source(port, **options))
    made.connect()
    return made


def read(connector: EtherNetIpConnector, *tags: Tag) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


def value(connector: EtherNetIpConnector, one: Tag) -> object:
    sample = read(connector, one)[one.name]
    assert sample.quality is Quality.GOOD, sample.reason
    return sample.value


def reason(connector: EtherNetIpConnector, one: Tag) -> str:
    sample = read(connector, one)[one.name]
    assert sample.quality is Quality.BAD and sample.value is None
    return sample.reason


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with logix_peer() as (port, _):
        yield port


@pytest.fixture
def connector(port: int) -> Iterator[EtherNetIpConnector]:
    made = opened(port)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("Speed", "int32"), ("Count", "float32"), ("Count", "int16"), ("Count", "bool"), ("Switch", "int8"),
        ("Count", "string:8"), ("Text", "int32"), ("Recipes[0]", "float32"), ("Speed.3", "bool"), ("Temps[3]", "bool"),
        ("Big", "float64"),
    ],
)  # fmt: skip
def test_a_tag_of_another_type_than_the_list_says_is_bad(
    connector: EtherNetIpConnector, address: str, kind: str
) -> None:
    assert "the PLC has" in reason(connector, tag(address, kind))
    with pytest.raises(TagError, match="the PLC has"):
        connector.write(tag(address, kind, access=Access.WRITE), "x" if kind.startswith("string") else 1)


def test_a_dint_may_be_taken_as_unsigned(connector: EtherNetIpConnector) -> None:
    assert value(connector, tag("Bits", "uint32")) == 0x80000005
    assert value(connector, tag("Bits", "int32")) == 0x80000005 - 2**32


def test_a_float_that_is_no_number_is_bad(connector: EtherNetIpConnector) -> None:
    assert "not a number" in reason(connector, tag("NotFinite", "float32"))


@pytest.mark.parametrize(
    "address", ["Nothing", "Recipes[1].Nothing", "Temps[200]", "Recipes[3].Number", "Program:Other.A"]
)
def test_what_is_not_there_is_bad_with_the_codes(connector: EtherNetIpConnector, address: str) -> None:
    assert "CIP error" in reason(connector, tag(address, "float32"))


def test_a_hundred_tags_share_a_packet_and_bits_of_a_word_are_read_once(connector: EtherNetIpConnector) -> None:
    tags = [
        *(tag(f"Temps[{index}]", "float32") for index in range(60)),
        *(tag(f"Bits.{bit}", "bool") for bit in range(32)),
    ]
    before = connector.requests
    samples = read(connector, *tags)
    assert connector.requests - before == 1
    assert [samples[f"Temps[{index}].float32"].value for index in range(60)] == [index / 2 for index in range(60)]
    assert [samples[f"Bits.{bit}.bool"].value for bit in range(32)] == [bit in (0, 2, 31) for bit in range(32)]
    assert sum(one.tags for one in planned(source(1), tags)) == 92


@pytest.mark.parametrize("options", [{}, {"size": 500}])
def test_what_is_larger_than_a_packet_comes_in_fragments(port: int, options: dict[str, int]) -> None:
    made = opened(port, **options)
    many = tag("Many", "int32[2000]")
    samples = read(made, tag("Speed", "float32"), many, tag("Count"))
    assert samples[many.name].value == list(range(2000))
    assert samples["Count.int32"].value == 11
    made.close()


def test_an_old_controller_gets_a_small_connection() -> None:
    with logix_peer("127.0.0.1", 0, "small") as (port, _):
        made = opened(port)
        tags = [tag(f"Temps[{index}]", "float32") for index in range(200)]
        assert [sample.value for sample in read(made, *tags).values()].count(None) == 0
        assert made.requests > 5
        made.close()


def test_a_bit_is_written_alone(connector: EtherNetIpConnector) -> None:
    whole = tag("Bits", "uint32")
    before = value(connector, whole)
    connector.write(tag("Bits.7", "bool", access=Access.WRITE), True)
    assert value(connector, whole) == int(str(before)) | 1 << 7
    connector.write(tag("Bits", "bool", bit=7, access=Access.WRITE), False)
    assert value(connector, whole) == before
    connector.write(tag("Flags[69]", "bool", access=Access.WRITE), True)
    assert value(connector, tag("Flags[64]", "bool[32]")) == [bit == 5 for bit in range(32)]
    connector.write(tag("Flags[69]", "bool", access=Access.WRITE), False)


def test_bools_texts_and_arrays_are_written_as_the_plc_has_them(connector: EtherNetIpConnector) -> None:
    for one, wanted in (
        (tag("Recipes[2].On", "bool", access=Access.WRITE), True),
        (tag("Recipes[2].Name", "string:20", access=Access.WRITE), "1.0 glass"),
        (tag("Recipes[2].Temps", "float32[4]", access=Access.WRITE), [1.0, 2.0, 3.0, 4.5]),
        (tag("Small", "int8", access=Access.WRITE, scale=0.5), -3.5),
        (tag("Recipes[2].Total", "int64", access=Access.WRITE), -(2**50)),
    ):
        connector.write(one, wanted)  # type: ignore[arg-type]
        assert value(connector, one) == wanted
    assert value(connector, tag("Recipes[2].Off", "bool")) is False, "its neighbour stays"
    connector.write(tag("Small", "int8", access=Access.WRITE), -7)


def test_a_text_longer_than_the_plcs_string_is_refused(connector: EtherNetIpConnector) -> None:
    with pytest.raises(TagError, match="room for 84"):
        connector.write(tag("Text", "string:200", access=Access.WRITE), "x" * 100)


def test_what_fits_into_no_request_is_refused(connector: EtherNetIpConnector) -> None:
    with pytest.raises(TagError, match="in one request"):
        connector.write(tag("Many", "int32[2000]", access=Access.WRITE), list(range(2000)))


def test_attributes_of_any_device_are_read_without_a_connection(port: int) -> None:
    made = opened(port, family="cip")
    samples = read(
        made, tag("@1/1/1", "uint16"), tag("@0x01/0x01/0x06", "uint32"), tag("@1/1/99", "uint16"), tag("@9/1/1")
    )
    assert samples["@1/1/1.uint16"].value == 0x1337
    assert samples["@0x01/0x01/0x06.uint32"].value == struct.unpack(">I", b"PLGE")[0]
    assert "no such attribute" in samples["@1/1/99.uint16"].reason
    assert "CIP error 16#05" in samples["@9/1/1.int32"].reason
    assert "2 bytes came" in reason(made, tag("@1/1/1", "uint32"))
    made.close()


@pytest.mark.parametrize(
    ("address", "kind", "fields"),
    [
        ("hr:7", "int16", {}), ("1Tag", "int16", {}), ("Tag..B", "int16", {}), ("Tag[1", "int16", {}),
        ("@1/1", "int16", {}),
        ("Tag", "wstring:4", {}), ("Tag", "datetime", {}), ("Tag", "int32", {"order": "CDAB"}), ("Tag.64", "bool", {}),
        ("Tag.3", "int32", {}), ("Tag.3", "bool", {"bit": 4}), ("Tag", "bool[4]", {}), ("Tag[1,2,3,4]", "int16", {}),
    ],
)  # fmt: skip
def test_addresses_that_can_not_be_are_named(address: str, kind: str, fields: dict[str, object]) -> None:
    with pytest.raises(TagError, match=r"\.(int16|int32|wstring|datetime|bool)"):
        check_address(tag(address, kind, **fields))


@pytest.mark.parametrize(
    "options",
    [{"slot": 99}, {"family": "slc"}, {"size": 1000}, {"route": "bp"}, {"no_such_option": 1}, {"items": 0}],
)
def test_options_that_can_not_be_are_named(options: dict[str, str | int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        open_connector(source(1, **options))


def test_micro800_has_no_slot_and_a_route_may_lead_further(port: int) -> None:
    for options in ({"family": "micro800"}, {"route": "bp/0/enet/10.1.1.5/bp/2"}, {"slot": 3}):
        made = opened(port, **options)  # type: ignore[arg-type]
        assert value(made, tag("Count")) == 11
        made.close()


def test_a_plc_that_has_gone_is_lost_at_the_next_request() -> None:
    with logix_peer() as (port, child):
        made = opened(port)
        child.kill()
        child.wait(5)
        with pytest.raises(ConnectorError, match="no usable answer"):
            read(made, tag("Count"))
        made.close()
