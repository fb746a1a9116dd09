"""Bytes of Sparkplug payloads against the text of the standard (Sparkplug 3.0, 6.4.16 and 6.4.17)."""

import pytest

from edge.plc.tags.lists import Tag
from edge.sparkplug.metrics import Table, type_of
from edge.sparkplug.payload import DataType, Metric, decode_commands, encode
from schemas.errors import CodecError
from schemas.messages import Quality, Sample


def wire(kind: DataType, value: object) -> bytes:
    """The bytes of one metric's value: what follows timestamp and datatype."""
    encoded = encode([Metric(kind, value, 0, name="m")], 0, 0)  # type: ignore[arg-type]  # any value of the type
    return encoded.partition(b"\x20" + bytes([kind]))[2].rpartition(b"\x18")[0]


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        (DataType.INT8, -1, b"\x50\xff\xff\xff\xff\x0f"),
        (DataType.INT64, -1, b"\x58" + b"\xff" * 9 + b"\x01"),
        (DataType.UINT32, 4_000_000_000, b"\x58\x80\xd0\xac\xf3\x0e"),
        (DataType.BOOLEAN, True, b"\x70\x01"),
        (DataType.STRING, "ü", b"\x7a\x02\xc3\xbc"),
        (DataType.INT8_ARRAY, [-23, 123], b"\x82\x01\x02\xe9\x7b"),
        (DataType.INT16_ARRAY, [-30_000, 30_000], b"\x82\x01\x04\xd0\x8a\x30\x75"),
        (DataType.UINT32_ARRAY, [52, 3_293_969_225], b"\x82\x01\x08\x34\x00\x00\x00\x49\xfb\x55\xc4"),
        (DataType.BOOLEAN_ARRAY, [False, False, True, True, False, True, False, False, True, True, False, True],
         b"\x82\x01\x06\x0c\x00\x00\x00\x34\xd0"),
    ],
)  # fmt: skip
def test_a_value_stands_in_the_field_of_its_type(kind: DataType, value: object, field: bytes) -> None:
    assert wire(kind, value) == field


def test_what_is_no_payload_is_refused() -> None:
    with pytest.raises(CodecError, match="Sparkplug"):
        decode_commands(b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ({"type": "uint16"}, DataType.UINT16),
        ({"type": "uint16", "scale": 0.1}, DataType.DOUBLE),
        ({"type": "bcd32"}, DataType.UINT32),
        ({"type": "datetime:dtl"}, DataType.STRING),
        ({"type": "float32[4]"}, DataType.FLOAT_ARRAY),
        ({"type": "bool[4]"}, DataType.BOOLEAN_ARRAY),
        ({"type": "int16[4]", "scale": 2.0}, DataType.DOUBLE_ARRAY),
    ],
)
def test_a_tag_has_the_type_of_its_values(tag: dict[str, object], kind: DataType) -> None:
    assert type_of(Tag(name="t", address="hr:0", **tag)) is kind  # type: ignore[arg-type]  # the keys of a list


def test_a_pipeline_with_a_sources_name_is_another_device() -> None:
    table = Table({"caps": {"t": Tag(name="t", address="hr:0", type="int16")}}, ["caps"], {})
    assert sorted(table.devices) == ["caps", "caps-pipeline"]
    assert table.device_of("caps") == "caps-pipeline"


def test_a_tag_that_is_in_no_list_is_not_told() -> None:
    table = Table({"plc": {}}, [], {})
    assert table.take_sample("plc", "unknown", Sample(value=1, quality=Quality.GOOD), 0) is None
