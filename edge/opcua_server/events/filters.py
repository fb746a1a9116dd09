"""Which events a client wants, and which of their fields (EventFilter, OPC 10000-4, 7.22.3 and 7.7). Pure.

It replaces asyncua's evaluation, which knows no subtypes and no Like, logs a traceback for each event that lacks a
field, follows elements in circles, and reads any attribute of its own objects that a client names.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.events.happenings import Happening
from edge.opcua_server.subscriptions.deadband import FilterRefused

MOST_SELECTED: Final = 200
MOST_ELEMENTS: Final = 100
MOST_EVALUATIONS: Final = 1_000  # of operands for one event: who refers twice to each next element has 2**100
LONGEST_PATTERN: Final = 500
Evaluate = Callable[[Happening], Any]  # null is None
Supertypes = Callable[[ua.NodeId], "frozenset[ua.NodeId]"]  # of a type, itself among them
_OPERANDS: Final[Mapping[ua.FilterOperator, int]] = MappingProxyType({
    ua.FilterOperator.Equals: 2, ua.FilterOperator.IsNull: 1, ua.FilterOperator.GreaterThan: 2,
    ua.FilterOperator.LessThan: 2, ua.FilterOperator.GreaterThanOrEqual: 2, ua.FilterOperator.LessThanOrEqual: 2,
    ua.FilterOperator.Like: 2, ua.FilterOperator.Not: 1, ua.FilterOperator.Between: 3, ua.FilterOperator.InList: 2,
    ua.FilterOperator.And: 2, ua.FilterOperator.Or: 2, ua.FilterOperator.OfType: 1,
})  # fmt: skip
_COMPARE: Final[Mapping[ua.FilterOperator, Callable[[Any, Any], bool]]] = MappingProxyType({
    ua.FilterOperator.Equals: operator.eq, ua.FilterOperator.GreaterThan: operator.gt,
    ua.FilterOperator.LessThan: operator.lt, ua.FilterOperator.GreaterThanOrEqual: operator.ge,
    ua.FilterOperator.LessThanOrEqual: operator.le,
})  # fmt: skip


class Path(NamedTuple):
    """Where a field is: names, "" for the condition's NodeId; and the namespace of the last of them."""

    names: str
    space: int = 0


@dataclass(frozen=True)
class Wanted:
    """An event filter, ready to be used: paths of fields, None for what no event has, and what has to hold."""

    select: tuple[Path | None, ...]
    where: Evaluate | None

    def lets_through(self, happening: Happening) -> bool:
        """Whether an event is wanted."""
        return self.where is None or self.where(happening) is True

    def fields(self, happening: Happening) -> list[ua.Variant]:
        """Return the fields that were asked for, null for those that the event does not have."""
        return [_selected(happening, path) for path in self.select]


def _selected(happening: Happening, path: Path | None) -> ua.Variant:
    """Return a field: of the event's own ones those of its namespace, as two standards have a PartId."""
    if path is None or path.space not in (0, happening.kind.NamespaceIndex):
        return _NULL
    if not path.names:
        return _NULL if happening.condition is None else ua.Variant(happening.condition, ua.VariantType.NodeId)
    return happening.fields.get(path.names, _NULL)


_NULL: Final = ua.Variant(None)


def wanted(given: Any, supertypes: Supertypes) -> Wanted:
    """Return what an EventFilter asks for.

    Raises:
        FilterRefused: it can't be used.
    """
    if not isinstance(given, ua.EventFilter):
        raise FilterRefused(StatusCodes.BadEventFilterInvalid)
    clauses = cast("list[Any]", cast(Any, given).SelectClauses or [])
    elements = cast("list[Any]", cast(Any, given).WhereClause.Elements or [])
    if not 0 < len(clauses) <= MOST_SELECTED or len(elements) > MOST_ELEMENTS:
        raise FilterRefused(StatusCodes.BadEventFilterInvalid)
    select = tuple(_path(one) for one in clauses)
    made: dict[int, Evaluate] = {}
    costs: dict[int, int] = {}
    for number in reversed(range(len(elements))):  # an element refers to later ones alone, so there are no circles
        made[number] = _element(elements[number], made, supertypes)
        costs[number] = sum(_cost(one, costs) for one in elements[number].FilterOperands)
        if costs[number] > MOST_EVALUATIONS:
            raise FilterRefused(StatusCodes.BadEventFilterInvalid)
    return Wanted(select, made.get(0))


def _cost(operand: object, costs: Mapping[int, int]) -> int:
    return costs[cast(Any, operand).Index] if isinstance(operand, ua.ElementOperand) else 1


def _path(operand: Any) -> Path | None:
    """Return the path of a field, None for what no event has."""
    steps = operand.BrowsePath
    if steps and operand.AttributeId == _VALUE:
        return Path("/".join(str(one.Name) for one in steps), int(steps[-1].NamespaceIndex))
    return Path("") if not steps and operand.AttributeId == AttributeIds.NodeId else None


_VALUE: Final = AttributeIds.Value


def _element(element: Any, made: Mapping[int, Evaluate], supertypes: Supertypes) -> Evaluate:
    kind, given = element.FilterOperator, cast("list[Any]", element.FilterOperands or [])
    needed = _OPERANDS.get(kind)
    if needed is None:
        raise FilterRefused(StatusCodes.BadFilterOperatorUnsupported)
    if len(given) < needed:
        raise FilterRefused(StatusCodes.BadFilterOperandCountMismatch)
    operands = [_operand(one, made) for one in given]
    if kind in _COMPARE:
        return _comparison(_COMPARE[kind], operands)
    return _MAKERS[kind](operands) if kind in _MAKERS else _of_type(operands, supertypes)


def _operand(given: object, made: Mapping[int, Evaluate]) -> Evaluate:
    plain: Any = given
    if isinstance(given, ua.ElementOperand):
        if plain.Index not in made:
            raise FilterRefused(StatusCodes.BadFilterOperandInvalid)
        return made[plain.Index]
    if isinstance(given, ua.LiteralOperand):
        held = None if plain.Value is None else _plain(plain.Value.Value)
        return lambda _: held
    if isinstance(given, ua.SimpleAttributeOperand):
        path = _path(plain)
        return lambda happening: _plain(_selected(happening, path).Value)
    raise FilterRefused(StatusCodes.BadFilterOperandInvalid)


def _plain(value: Any) -> Any:
    return value.Text if isinstance(value, ua.LocalizedText) else value


def _comparison(compare: Callable[[Any, Any], bool], operands: Sequence[Evaluate]) -> Evaluate:
    def evaluate(happening: Happening) -> bool | None:
        left, right = operands[0](happening), operands[1](happening)
        if left is None or right is None:
            return None
        try:
            return compare(left, right)
        except TypeError:
            return None

    return evaluate


def _is_null(operands: Sequence[Evaluate]) -> Evaluate:
    return lambda happening: operands[0](happening) is None


def _not(operands: Sequence[Evaluate]) -> Evaluate:
    def evaluate(happening: Happening) -> bool | None:
        held = operands[0](happening)
        return not held if isinstance(held, bool) else None

    return evaluate


def _and(operands: Sequence[Evaluate]) -> Evaluate:
    def evaluate(happening: Happening) -> bool | None:
        both = operands[0](happening), operands[1](happening)
        return False if False in both else (True if both == (True, True) else None)

    return evaluate


def _or(operands: Sequence[Evaluate]) -> Evaluate:
    def evaluate(happening: Happening) -> bool | None:
        both = operands[0](happening), operands[1](happening)
        return True if True in both else (False if both == (False, False) else None)

    return evaluate


def _between(operands: Sequence[Evaluate]) -> Evaluate:
    low, high = _comparison(operator.ge, operands[:2]), _comparison(operator.le, (operands[0], operands[2]))
    return _and((low, high))


def _in_list(operands: Sequence[Evaluate]) -> Evaluate:
    def evaluate(happening: Happening) -> bool | None:
        held = operands[0](happening)
        return None if held is None else any(held == one(happening) for one in operands[1:])

    return evaluate


def _like(operands: Sequence[Evaluate]) -> Evaluate:
    def evaluate(happening: Happening) -> bool | None:
        text, pattern = operands[0](happening), operands[1](happening)
        if not isinstance(text, str) or not isinstance(pattern, str):
            return None
        return _fits(_parts(pattern[:LONGEST_PATTERN]), text)

    return evaluate


_ANY: Final = None  # any characters, also none


def _parts(pattern: str) -> list[re.Pattern[str] | None]:
    """Return what a Like pattern is made of: one character each, or any characters (7.7.3)."""
    found = re.findall(r"\\.|%+|_|\[\^?[^\]]+\]|.", pattern, re.DOTALL)
    return [_ANY if one.startswith("%") else re.compile(_character(one), re.DOTALL) for one in found]


def _character(part: str) -> str:
    if part == "_":
        return "."
    if part.startswith("[") and len(part) > 2:
        inverted = part.startswith("[^")
        held = re.escape(part[2 if inverted else 1 : -1]).replace(r"\-", "-")
        return f"[{'^' if inverted else ''}{held}]"
    return re.escape(part[1:] if part.startswith("\\") and len(part) > 1 else part)


def _fits(parts: Sequence[re.Pattern[str] | None], text: str) -> bool:
    """Whether a text is as a pattern says. It goes back to the last `%` alone; a regular expression takes hours."""
    at = part = 0
    star, mark = -1, 0
    while at < len(text):
        one = parts[part] if part < len(parts) else _END
        if one is _ANY:
            star, mark, part = part, at, part + 1
        elif one is not _END and one is not None and one.match(text, at):
            at, part = at + 1, part + 1
        elif star >= 0:
            mark += 1
            at, part = mark, star + 1
        else:
            return False
    return all(one is _ANY for one in parts[part:])


_END: Final = re.compile(r"\Z(?!\Z)")


def _of_type(operands: Sequence[Evaluate], supertypes: Supertypes) -> Evaluate:
    return lambda happening: operands[0](happening) in supertypes(happening.kind)


_MAKERS: Final[Mapping[ua.FilterOperator, Callable[[Sequence[Evaluate]], Evaluate]]] = MappingProxyType({
    ua.FilterOperator.IsNull: _is_null, ua.FilterOperator.Not: _not, ua.FilterOperator.And: _and,
    ua.FilterOperator.Or: _or, ua.FilterOperator.Between: _between, ua.FilterOperator.InList: _in_list,
    ua.FilterOperator.Like: _like,
})  # fmt: skip
