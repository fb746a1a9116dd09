"""What of a client's Write is asked of the connector, and the status of what is not."""

from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.writing import STATUS, Target, Wanted, judge, wanted_of
from edge.plc.tags.tag import Access, Tag
from schemas.messages import ReplyCode

SPEED = Target("plc", Tag(name="Speed", address="hr:0", type="float32", access=Access.WRITE, min=0, max=10))
CURVE = Target("plc", Tag(name="Curve", address="hr:2", type="int16[3]", access=Access.WRITE))
SCALED = Target("plc", Tag(name="Level", address="hr:9", type="int16", access=Access.WRITE, scale=0.1))
TARGETS = {"s/l/n/Speed": SPEED, "s/l/n/Curve": CURVE, "s/l/n/Level": SCALED}


def wanted(name: str, variant: ua.Variant, **fields: Any) -> Wanted:
    values: dict[str, Any] = {
        "NodeId": ua.NodeId(ua.String(f"s/l/n/{name}"), ua.Int16(2)), "AttributeId": AttributeIds.Value,
        "Value": ua.DataValue(variant),
    }  # fmt: skip
    return wanted_of(ua.WriteValue(**(values | fields)))


FIVE = ua.Variant(5.0, ua.VariantType.Float)


def test_a_value_of_the_nodes_type_is_asked_for() -> None:
    assert judge(TARGETS, "anna", wanted("Speed", FIVE)) == (SPEED, 5.0)
    three = ua.Variant([1, 2, 3], ua.VariantType.Int16)
    assert judge(TARGETS, "anna", wanted("Curve", three)) == (CURVE, [1, 2, 3])
    assert judge(TARGETS, "anna", wanted("Level", ua.Variant(1.5, ua.VariantType.Double))) == (SCALED, 1.5)


@pytest.mark.parametrize(("user", "write", "status"), [
    ("", wanted("Speed", FIVE), StatusCodes.BadUserAccessDenied),
    ("anna", wanted("Motor", FIVE), StatusCodes.BadNotWritable),
    ("anna", wanted("Speed", FIVE, AttributeId=AttributeIds.DisplayName), StatusCodes.BadNotWritable),
    ("anna", wanted("Speed", FIVE, IndexRange="0:1"), StatusCodes.BadWriteNotSupported),
    ("anna", wanted("Speed", ua.Variant(11.0, ua.VariantType.Float)), StatusCodes.BadOutOfRange),
    ("anna", wanted("Speed", ua.Variant(float("nan"), ua.VariantType.Float)), StatusCodes.BadOutOfRange),
    ("anna", wanted("Speed", ua.Variant(5, ua.VariantType.Int16)), StatusCodes.BadTypeMismatch),
    ("anna", wanted("Speed", ua.Variant([5.0], ua.VariantType.Float)), StatusCodes.BadTypeMismatch),
    ("anna", wanted("Curve", ua.Variant(1, ua.VariantType.Int16)), StatusCodes.BadTypeMismatch),
    ("anna", wanted("Curve", ua.Variant([1, 2], ua.VariantType.Int16)), StatusCodes.BadOutOfRange),
    ("anna", wanted("Level", ua.Variant(15, ua.VariantType.Int16)), StatusCodes.BadTypeMismatch),
])  # fmt: skip
def test_any_other_write_never_gets_there(user: str, write: Wanted, status: int) -> None:
    assert judge(TARGETS, user, write) == status


def test_a_write_with_a_bad_status_is_not_supported() -> None:
    bad = ua.DataValue(FIVE, StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure)))
    assert judge(TARGETS, "anna", wanted("Speed", FIVE, Value=bad)) == StatusCodes.BadWriteNotSupported


def test_every_answer_of_the_connector_has_its_status_and_only_done_is_good() -> None:
    assert set(STATUS) == set(ReplyCode)
    good = {code for code, status in STATUS.items() if not status & 0xC000_0000}
    assert good == {ReplyCode.DONE, ReplyCode.CLAMPED}
