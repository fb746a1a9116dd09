"""What a request may claim: each of these took the whole process, some of them from anybody who reaches the port."""

import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import nodeid_to_binary, struct_from_binary, struct_to_binary, variant_from_binary

from edge.opcua_server.decoding import Body, bound_decoding
from edge.opcua_server.limits import MOST_NODES_PER_CALL, REQUEST_ELEMENTS

pytestmark = pytest.mark.timeout(10)
HUGE, NONE = struct.pack("<i", 2**31 - 1), struct.pack("<i", -1)
ARRAY, SHAPED = 0x80, 0xC0


@pytest.fixture(autouse=True)
def bounded() -> None:
    bound_decoding()


def refused(read: Any, kind: Any, data: bytes) -> int:
    with pytest.raises(ServiceError) as error:
        read(kind, Body(data)) if kind else read(Body(data))
    return int(error.value.code)


@pytest.mark.parametrize("kind", [0, 12, 17, 22, 24])  # null, text, NodeId, structure, Variant
def test_an_array_is_not_longer_than_a_request_may_be(kind: int) -> None:
    data = bytes((ARRAY | kind,)) + HUGE + b"\0" * 100
    assert refused(variant_from_binary, None, data) == StatusCodes.BadEncodingLimitsExceeded


def test_an_array_has_not_more_elements_than_bytes() -> None:
    assert refused(variant_from_binary, None, bytes((ARRAY,)) + struct.pack("<i", 100)) == StatusCodes.BadDecodingError


def test_many_arrays_are_bounded_together() -> None:
    one = bytes((ARRAY | 24,)) + struct.pack("<i", 1000) + b"\0" * 1000
    data = bytes((ARRAY | 24,)) + struct.pack("<i", 20) + one * 20
    assert refused(variant_from_binary, None, data) == StatusCodes.BadEncodingLimitsExceeded


def test_a_length_does_not_lead_backwards() -> None:
    locales = struct.pack("<ii", 50, -4) + b"\0" * 100
    assert refused(struct_from_binary, ua.GetEndpointsParameters, NONE + locales) == StatusCodes.BadDecodingError


def test_dimensions_are_those_of_the_array() -> None:
    one = bytes((SHAPED | 1,)) + struct.pack("<i", 2) + b"\0\0" + struct.pack("<iii", 2, 1000, 1000)
    assert refused(variant_from_binary, None, one) == StatusCodes.BadDecodingError
    fitting = bytes((SHAPED | 1,)) + struct.pack("<i", 4) + b"\0\1\0\1" + struct.pack("<iii", 2, 2, 2)
    assert variant_from_binary(Body(fitting)).Value == [[False, True], [False, True]]


def test_what_is_hidden_in_a_header_counts_too() -> None:
    literal = ua.typeid_by_extension_objects[ua.LiteralOperand]
    inner = bytes((ARRAY,)) + HUGE
    hidden = nodeid_to_binary(literal) + b"\1" + struct.pack("<i", len(inner)) + inner
    header = struct_to_binary(ua.RequestHeader())[:-3] + hidden
    assert refused(struct_from_binary, ua.RequestHeader, header) == StatusCodes.BadEncodingLimitsExceeded


def test_as_much_as_is_allowed_can_be_read() -> None:
    nodes = ua.ReadParameters()
    nodes.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId(ua.String("x" * 50), ua.Int16(2)))] * MOST_NODES_PER_CALL
    assert len(struct_from_binary(ua.ReadParameters, Body(struct_to_binary(nodes))).NodesToRead) == MOST_NODES_PER_CALL
    times = bytes((ARRAY | 13,)) + struct.pack("<i", 10_000) + bytes(80_000)
    assert len(variant_from_binary(Body(times)).Value) == 10_000 < REQUEST_ELEMENTS
    numbers = bytes((ARRAY | 3,)) + struct.pack("<i", 200_000) + bytes(200_000)
    assert len(variant_from_binary(Body(numbers)).Value) == 200_000, "numbers cost what their bytes do"
