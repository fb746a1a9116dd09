"""A client's Write becomes a request on the bus, and its StatusCode what became of it in the PLC.

asyncua awaits `InternalSession.write` in the task of the client's connection alone, so a write that takes its time
holds up that client's next request, and nobody else's. Nothing a client writes goes into the address space but the
value that the PLC was read back to hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.space import variant_of
from edge.plc.tag import Tag
from edge.plc.tags import coerce
from schemas.errors import TagError
from schemas.messages import ReplyCode, Value

_NOBODY: Final = User(role=UserRole.Anonymous)
MOST_NODES: Final = 32  # of one Write request: a source takes 40 writes a second
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


def judge(
    targets: Mapping[str, Target], writers: Collection[str], user: str, wanted: Wanted
) -> tuple[Target, Value] | int:
    """Return what to ask the connector for, or the status code of a write that never gets there. Pure."""
    target = targets.get(str(wanted.node.Identifier))
    if wanted.attribute != AttributeIds.Value or target is None:
        return StatusCodes.BadNotWritable
    if not user or user not in writers:  # an anonymous session has no name
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


class WritingServer(InternalServer):
    """asyncua's server core, whose clients write through `carry`; set once the bus is there."""

    def __init__(self, user_manager: UserManager, writers: Collection[str]) -> None:
        """Nothing may be written before `open_for`."""
        super().__init__(user_manager=user_manager)
        self._writers = frozenset(writers)
        self._targets: Mapping[str, Target] = {}
        self._carry: Carry | None = None

    def open_for(self, targets: Mapping[str, Target], carry: Carry) -> None:
        """Let writers write `targets`, which are by the identifiers of their nodes."""
        self._targets, self._carry = targets, carry

    def create_session(self, name: str, user: User = _NOBODY, external: bool = False) -> InternalSession:
        """Return a session whose writes come here; our own ones are asyncua's."""
        if external:
            return WritingSession(self.carry_out, self, name, user)
        return super().create_session(name, user, external)

    async def carry_out(self, user: str, wanted: Wanted) -> ua.StatusCode:
        """Carry out one write of a client."""
        if wanted.node not in self.aspace:
            return _status(StatusCodes.BadNodeIdUnknown)
        judged = judge(self._targets, self._writers, user, wanted)
        if isinstance(judged, int):
            return _status(judged)
        if self._carry is None:
            return _status(StatusCodes.BadNoCommunication)
        return _status(await self._carry(*judged, user))


class WritingSession(InternalSession):
    """A client's session, whose writes `carry_out` carries out."""

    def __init__(
        self,
        carry_out: Callable[[str, Wanted], Awaitable[ua.StatusCode]],
        server: InternalServer,
        name: str,
        user: User,
    ) -> None:
        """Open it, not yet activated."""
        super().__init__(server, server.aspace, server.subscription_service, name, user=user, external=True)
        self._carry_out = carry_out

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        """Ask for all nodes at once, and answer when each is settled."""
        user = self.user.name or ""
        nodes = cast("list[object]", cast(Any, params).NodesToWrite)
        if len(nodes) > MOST_NODES:
            return [_status(StatusCodes.BadTooManyOperations) for _ in nodes]
        return list(await asyncio.gather(*(self._carry_out(user, wanted_of(one)) for one in nodes)))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
