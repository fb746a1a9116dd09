"""A client's Write becomes a request on the bus, and its StatusCode what became of it in the PLC.

asyncua awaits a session's `write` in the task of the client's connection alone, so a write that takes its time
holds up that client's next request, and nobody else's. Nothing a client writes goes into the address space but the
value that the PLC was read back to hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.address_space.device import variant_of
from edge.plc.tags.lists import coerce
from edge.plc.tags.tag import Tag
from schemas.errors import TagError
from schemas.fields import Value
from schemas.messages import ReplyCode

STATUS: Final[Mapping[ReplyCode, int]] = {
    ReplyCode.NONE: StatusCodes.BadUnexpectedError, ReplyCode.DONE: StatusCodes.Good,
    ReplyCode.CLAMPED: StatusCodes.GoodClamped, ReplyCode.UNKNOWN_TAG: StatusCodes.BadNodeIdUnknown,
    ReplyCode.NOT_WRITABLE: StatusCodes.BadNotWritable, ReplyCode.OUT_OF_RANGE: StatusCodes.BadOutOfRange,
    ReplyCode.RATE: StatusCodes.BadTooManyOperations, ReplyCode.NO_LINK: StatusCodes.BadNoCommunication,
    ReplyCode.UNSURE: StatusCodes.BadCommunicationError, ReplyCode.MISMATCH: StatusCodes.BadUnexpectedError,
    ReplyCode.REFUSED: StatusCodes.BadDeviceFailure,
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A node that may be written: the tag of a source."""

    source: str
    tag: Tag


@dataclass(frozen=True)
class Wanted:
    """What a client wants to write, out of asyncua's WriteValue."""

    node: ua.NodeId
    attribute: int
    variant: ua.VariantType | None
    value: Value
    whole: bool  # no index range, and no status that is not Good


def wanted_of(given: Any) -> Wanted:
    """Read an asyncua WriteValue, whose fields have no types that a checker sees."""
    status, variant = given.Value.StatusCode, given.Value.Value
    whole = not given.IndexRange and (status is None or bool(status.is_good()))
    kind, value = (None, None) if variant is None else (variant.VariantType, variant.Value)
    return Wanted(given.NodeId, given.AttributeId, kind, value, whole)


Carry = Callable[[Target, Value, str], Awaitable[int]]  # target, value, user -> status code


def judge(targets: Mapping[str, Target], user: str, wanted: Wanted) -> tuple[Target, Value] | int:
    """Return what to ask the connector for, or the status code of a write that never gets there. Pure.

    `user` is "" for one who may not write.
    """
    target = targets.get(str(wanted.node.Identifier))
    if wanted.attribute != AttributeIds.Value or target is None:
        return StatusCodes.BadNotWritable
    if not user:
        return StatusCodes.BadUserAccessDenied
    if not wanted.whole:
        return StatusCodes.BadWriteNotSupported
    if wanted.variant != variant_of(target.tag) or isinstance(wanted.value, list) is not bool(target.tag.count):
        return StatusCodes.BadTypeMismatch
    try:
        coerce(target.tag, wanted.value)
    except TagError:
        return StatusCodes.BadOutOfRange
    return target, wanted.value


class Writes:
    """Which nodes take a value, and who carries a write out; nothing is written before `open_for`."""

    def __init__(self, known: Callable[[ua.NodeId], object]) -> None:
        """Take nothing yet; `known` returns what is known of a node, None for nothing."""
        self._known = known
        self._targets: Mapping[str, Target] = {}
        self._carry: Carry | None = None

    def open_for(self, targets: Mapping[str, Target], carry: Carry) -> None:
        """Let operators write `targets`, which are by the identifiers of their nodes."""
        self._targets, self._carry = targets, carry

    async def carry_out(self, user: str, wanted: Wanted) -> ua.StatusCode:
        """Carry out one write of a user who may write, or "" for one who may not."""
        if self._known(wanted.node) is None:
            return _status(StatusCodes.BadNodeIdUnknown)
        judged = judge(self._targets, user, wanted)
        if isinstance(judged, int):
            return _status(judged)
        if self._carry is None:
            return _status(StatusCodes.BadNoCommunication)
        return _status(await self._carry(*judged, user))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
