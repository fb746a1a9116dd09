"""The methods of our own: their nodes, who may call them, and what a call is answered with (OPC 10000-4, 5.12.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.access.people import Person, Right
from edge.opcua_server.address_space.fields import Field, Method
from edge.opcua_server.address_space.nodes import Ids, New, Nodes, standard, string_id
from schemas.fields import Value

RIGHTS: Final = (Right.CALL, Right.WRITE)  # each of ours moves something


@dataclass(frozen=True)
class Outcome:
    """What became of a call. `arguments`: the status code of each input, where one of them is at fault."""

    code: int
    outputs: tuple[Value, ...] = ()
    arguments: tuple[int, ...] = ()


Carry = Callable[[str, Sequence[Value]], Awaitable[Outcome]]  # user, inputs
Audit = Callable[[str, str, Sequence[Value], int], None]  # which method, who, inputs, status code


@dataclass(frozen=True)
class _Placed:
    path: str
    parent: ua.NodeId
    method: Method
    executable: bool


class Methods:
    """All methods of a server; none is carried out before `open_for`."""

    def __init__(self, nodes: Nodes, index: int, root: str) -> None:
        """Have none yet. `root`: what the identifiers of their nodes begin with."""
        self._nodes, self._index, self._root = nodes, index, root
        self._placed: dict[ua.NodeId, _Placed] = {}
        self._carries: Mapping[str, Carry] = {}
        self._audit: Audit | None = None

    def add(self, folder: str, parent: ua.NodeId, method: Method, *, executable: bool = True) -> str:
        """Put a method into the address space; return its path. One not `executable` tells so to everybody."""
        path = f"{folder}/{method.name}"
        node = string_id(f"{self._root}/{path}", self._index)
        self._nodes.method(New(node, self._name(method.name), parent, _COMPONENT, None, method.text), executable)
        for name, fields in (("InputArguments", method.inputs), ("OutputArguments", method.outputs)):
            if fields:
                value = ua.Variant([_argument(field) for field in fields], ua.VariantType.ExtensionObject)
                below = string_id(f"{self._root}/{path}/{name}", self._index)
                self._nodes.property(below, ua.QualifiedName(name, ua.UInt16(0)), node, value)
        self._placed[node] = _Placed(path, parent, method, executable)
        return path

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, ua.UInt16(self._index))

    def open_for(self, carries: Mapping[str, Carry], audit: Audit) -> None:
        """Carry out what is called, by the paths of the methods; `audit` hears of each call that was allowed."""
        self._carries, self._audit = carries, audit

    def executable(self, node: ua.NodeId, user: object) -> bool | None:
        """Whether a user may call a method now, None where it is not one of ours."""
        found = self._placed.get(node)
        return None if found is None else found.executable and _may(user)

    def knows(self, node: ua.NodeId) -> bool:
        """Whether a method is one of ours."""
        return node in self._placed

    async def call(self, parent: ua.NodeId, node: ua.NodeId, given: Sequence[Any], user: object) -> Any:
        """Answer one call of a method that is known."""
        placed = self._placed[node]
        refused = _refused(placed, parent, given, user)
        if refused:
            return _result(refused)
        carry = self._carries.get(placed.path)
        if carry is None:
            return _result(Outcome(StatusCodes.BadNoCommunication))
        name, inputs = cast(Person, user).name or "", [cast(Value, one.Value) for one in given]
        outcome = await carry(name, inputs)
        if self._audit is not None:
            self._audit(placed.path, name, inputs, outcome.code)
        return _result(outcome, placed.method.outputs)


def _may(user: object) -> bool:
    return isinstance(user, Person) and all(user.may(right) for right in RIGHTS)


def _refused(placed: _Placed, parent: ua.NodeId, given: Sequence[Any], user: object) -> Outcome | None:
    wanted = placed.method.inputs
    if parent != placed.parent:
        return Outcome(StatusCodes.BadMethodInvalid)
    if not _may(user):
        return Outcome(StatusCodes.BadUserAccessDenied)
    if not placed.executable:
        return Outcome(StatusCodes.BadNotWritable)
    if len(given) != len(wanted):
        return Outcome(StatusCodes.BadArgumentsMissing if len(given) < len(wanted) else StatusCodes.BadTooManyArguments)
    fits = [_fits(one, field) for one, field in zip(given, wanted, strict=True)]
    if all(fits):
        return None
    return Outcome(
        StatusCodes.BadInvalidArgument, arguments=tuple(0 if fit else StatusCodes.BadTypeMismatch for fit in fits)
    )


def _fits(given: Any, field: Field) -> bool:
    return given.VariantType == field.variant and given.Value is not None and not isinstance(given.Value, list)


def _argument(field: Field) -> Any:
    made: Any = ua.Argument(Name=field.name, DataType=standard(field.variant.value), ValueRank=ua.Int32(-1))
    made.Description = ua.LocalizedText(field.text)
    return made


def _result(outcome: Outcome, outputs: Sequence[Field] = ()) -> Any:
    given = [ua.Variant(value, field.variant) for value, field in zip(outcome.outputs, outputs, strict=False)]
    return ua.CallMethodResult(
        StatusCode=_status(outcome.code), InputArgumentResults=[_status(code) for code in outcome.arguments],
        OutputArguments=given,
    )  # fmt: skip


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))


_COMPONENT: Final = standard(Ids.HasComponent)
