"""Which events pass a filter, which fields of them are told, and which filters are refused."""

from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.address_space.nodes import numeric, standard, string_id
from edge.opcua_server.events.filters import wanted
from edge.opcua_server.events.happenings import Happening
from edge.opcua_server.subscriptions.deadband import FilterRefused

KIND, ABOVE, CONDITION = string_id("kind", 2), standard(2041), string_id("alarm", 2)
FIELDS = {
    "Message": ua.Variant(ua.LocalizedText("cap lost"), ua.VariantType.LocalizedText),
    "Severity": ua.Variant(500, ua.VariantType.UInt16),
    "ActiveState/Id": ua.Variant(True, ua.VariantType.Boolean),
}
EVENT = Happening(KIND, FIELDS, CONDITION)
Op = ua.FilterOperator


def attribute(*path: str, of: int = AttributeIds.Value) -> Any:
    names = [ua.QualifiedName(one, ua.UInt16(0)) for one in path]
    return ua.SimpleAttributeOperand(TypeDefinitionId=ABOVE, BrowsePath=names, AttributeId=of)


def literal(value: Any) -> Any:
    return ua.LiteralOperand(Value=ua.Variant(value))


def element(number: int) -> Any:
    return ua.ElementOperand(Index=ua.UInt32(number))


def made(*elements: tuple[Any, list[Any]], select: Any = None) -> Any:
    listed = [ua.ContentFilterElement(FilterOperator=kind, FilterOperands=given) for kind, given in elements]
    where = ua.ContentFilter(Elements=listed)
    chosen = [attribute("Message")] if select is None else select
    return wanted(ua.EventFilter(SelectClauses=chosen, WhereClause=where), lambda kind: frozenset({kind, ABOVE}))


SEVERITY, NONE = attribute("Severity"), attribute("NoSuchField")


@pytest.mark.parametrize(
    ("elements", "passes"),
    [
        ([(Op.Equals, [SEVERITY, literal(500)])], True),
        ([(Op.Equals, [attribute("Message"), literal("cap lost")])], True),
        ([(Op.GreaterThan, [SEVERITY, literal(500)])], False),
        ([(Op.GreaterThanOrEqual, [SEVERITY, literal(500)])], True),
        ([(Op.LessThan, [SEVERITY, literal("500")])], False),
        ([(Op.Between, [SEVERITY, literal(400), literal(600)])], True),
        ([(Op.Between, [SEVERITY, literal(501), literal(600)])], False),
        ([(Op.InList, [SEVERITY, literal(1), literal(500)])], True),
        ([(Op.IsNull, [NONE])], True),
        ([(Op.Equals, [NONE, literal(1)])], False),
        ([(Op.Not, [element(1)]), (Op.Equals, [NONE, literal(1)])], False),
        ([(Op.Or, [element(1), element(2)]), (Op.IsNull, [SEVERITY]), (Op.OfType, [literal(ABOVE)])], True),
        ([(Op.And, [element(1), element(2)]), (Op.IsNull, [SEVERITY]), (Op.OfType, [literal(ABOVE)])], False),
        ([(Op.OfType, [literal(CONDITION)])], False),
        ([(Op.Like, [attribute("Message"), literal("cap%")])], True),
        ([(Op.Like, [attribute("Message"), literal("c_p l[m-p]st")])], True),
        ([(Op.Like, [attribute("Message"), literal("cap l[^a-n]st")])], True),
        ([(Op.Like, [attribute("Message"), literal("cap")])], False),
        ([(Op.Like, [attribute("Message"), literal("cap.lost")])], False),
        ([(Op.Like, [attribute("Message"), literal("cap\\%")])], False),
        ([], True),
    ],
)
def test_what_passes(elements: list[Any], passes: bool) -> None:
    assert made(*elements).lets_through(EVENT) is passes


def test_fields_are_those_selected_and_null_where_there_are_none() -> None:
    chosen = [attribute("Severity"), attribute("ActiveState", "Id"), NONE, attribute(of=AttributeIds.NodeId)]
    found = made(select=chosen).fields(EVENT)
    assert [one.Value for one in found] == [500, True, None, CONDITION]
    assert made(select=[attribute("Message", of=AttributeIds.DisplayName)]).fields(EVENT)[0].Value is None


def test_a_field_of_another_standards_event_is_not_taken_for_one_of_the_same_name() -> None:
    ours, theirs = (Happening(numeric(1, index), {"PartId": ua.Variant(index)}) for index in (2, 3))

    def asked(index: int) -> ua.SimpleAttributeOperand:
        return ua.SimpleAttributeOperand(
            TypeDefinitionId=ABOVE, BrowsePath=[ua.QualifiedName("PartId", ua.UInt16(index))],
            AttributeId=AttributeIds.Value,
        )  # fmt: skip

    filtered = made(select=[asked(0), asked(2), asked(3)])
    assert [one.Value for one in filtered.fields(ours)] == [2, 2, None]
    assert [one.Value for one in filtered.fields(theirs)] == [3, None, 3]


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ([(Op.InView, [literal(1)])], StatusCodes.BadFilterOperatorUnsupported),
        ([(Op.Equals, [SEVERITY])], StatusCodes.BadFilterOperandCountMismatch),
        ([(Op.Not, [element(0)])], StatusCodes.BadFilterOperandInvalid),
        ([(Op.Not, [element(7)])], StatusCodes.BadFilterOperandInvalid),
    ],
)
def test_what_can_not_be_used_is_refused(elements: list[Any], code: int) -> None:
    with pytest.raises(FilterRefused) as caught:
        made(*elements)
    assert caught.value.code == code


def test_a_filter_without_fields_or_of_another_kind_is_refused() -> None:
    for given in (ua.EventFilter(), None):
        with pytest.raises(FilterRefused):
            wanted(given, lambda kind: frozenset({kind}))


def test_a_pattern_of_many_wildcards_takes_no_time() -> None:
    text = Happening(KIND, {"Message": ua.Variant("a" * 1000)})
    assert not made((Op.Like, [attribute("Message"), literal("%a" * 60 + "%b")])).lets_through(text)
    assert made((Op.Like, [attribute("Message"), literal("%a" * 60 + "%")])).lets_through(text)


@pytest.mark.parametrize("kind", [Op.And, Op.InList])
def test_elements_that_are_referred_to_again_and_again_are_refused(kind: Any) -> None:
    elements = [(kind, [element(number + 1)] * 2) for number in range(60)]
    with pytest.raises(FilterRefused) as refused:
        made(*elements, (Op.IsNull, [NONE]))  # an event would be judged for as long as the earth exists
    assert refused.value.code == StatusCodes.BadEventFilterInvalid
