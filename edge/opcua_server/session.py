"""A client's session: what it may do by its user's role, what it owns, and how much it may ask at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User
from asyncua.server.internal_session import InternalSession
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.access.people import Person, Right
from edge.opcua_server.events.conditions import METHODS, Conditions
from edge.opcua_server.history.reads import Continuations
from edge.opcua_server.limits import MOST_NODES_PER_CALL, MOST_VISION_CALLS, MOST_WRITES_PER_CALL
from edge.opcua_server.subscriptions.service import Publish, Request
from edge.opcua_server.vision.calls import Caller
from edge.opcua_server.vision.listings import Handles
from edge.opcua_server.writing import wanted_of

if TYPE_CHECKING:
    from edge.opcua_server.core import Core

# Methods that tell a subscriber its own state: whoever reads may call them.
READERS_METHODS: Final = frozenset({
    ObjectIds.ConditionType_ConditionRefresh, ObjectIds.ConditionType_ConditionRefresh2,
    ObjectIds.Server_GetMonitoredItems, ObjectIds.Server_ResendData,
})  # fmt: skip
# With how many arguments each.
REFRESHES: Final = {ObjectIds.ConditionType_ConditionRefresh: 1, ObjectIds.ConditionType_ConditionRefresh2: 2}
_NONE: Final = -1
Asked = TypeVar("Asked")


class Session(InternalSession):
    """asyncua's session, whose writes go to the PLC, and which touches its own subscriptions alone."""

    def __init__(self, core: Core, name: str) -> None:
        """Open it, not yet activated, under a token that nobody can guess: asyncua counts from 1000."""
        super().__init__(core, core.aspace, core.subscriptions, name, external=True)
        core.unregister_external_session(self)
        self.auth_token = ua.NodeId(ua.ByteString(secrets.token_bytes(32)), ua.Int16(0), ua.NodeIdType.ByteString)
        core.register_external_session(self)
        self._core = core
        self.made_s = time.monotonic()
        self.certificate: bytes | None = None  # the client's: the session is tied to it
        self.channel: object = None  # that holds it
        self.left_s: float | None = None  # since when none does
        self.admitted: Person | None = None  # who the next activation is for
        self._continuations = Continuations()
        self._handles = Handles()

    def may(self, right: Right) -> bool:
        """Whether the session's user has a right."""
        return isinstance(self.user, Person) and self.user.may(right)

    def activate_session(self, params: Any, peer_certificate: bytes | None) -> Any:
        """Let in whom the door has admitted.

        Raises:
            ServiceError: nobody was.
        """
        person, self.admitted = self.admitted, None
        if person is None:
            raise ServiceError(StatusCodes.BadIdentityTokenRejected)
        before = self.user
        result = super().activate_session(params, peer_certificate)
        self.user = cast(User, person)
        if (
            isinstance(before, Person) and before.duty is not person.duty
        ):  # nothing of what the one might, the other may
            self._continuations = Continuations()
            self._core.subscriptions.forget_events(self.session_id)
        return result

    async def close_session(self, delete_subs: bool = True) -> None:
        """Close it, and its subscriptions with it, whatever the client asked for."""
        mine = [one.data.SubscriptionId for one in self._core.subscriptions.of(self.session_id)]
        await super().close_session(False)
        if mine:
            await super().delete_subscriptions(mine)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self, params: Any) -> list[ua.DataValue]:
        """Read attributes."""
        _few(params.NodesToRead)
        found = await super().read(params)
        return [
            self._right_to_call(asked.NodeId, value) if asked.AttributeId == AttributeIds.UserExecutable else value
            for asked, value in zip(params.NodesToRead, found, strict=True)
        ]

    def _right_to_call(self, node: ua.NodeId, value: ua.DataValue) -> ua.DataValue:
        """Return an answer that says whether this user may call a method of ours; nodes share the one that was read."""
        may = None if self._core.methods is None else self._core.methods.executable(node, self.user)
        if may is None and self._core.vision is not None:
            may = self._core.vision.executable(node, self.may)
        return value if may is None else replace(value, Value=ua.Variant(may, ua.VariantType.Boolean))

    async def browse(self, params: Any) -> list[Any]:
        """Browse."""
        _few(params.NodesToBrowse)
        return await super().browse(params)

    async def translate_browsepaths_to_nodeids(self, params: list[Any]) -> list[Any]:
        """Find nodes by path."""
        return await super().translate_browsepaths_to_nodeids(_few(params))

    async def history_read(self, params: Any) -> list[Any]:
        """Read history."""
        _few(params.NodesToRead)
        if not self.may(Right.HISTORY):
            denied = _status(StatusCodes.BadUserAccessDenied)
            self._tell_denied("the history of", [(one.NodeId, denied) for one in params.NodesToRead])
            return [ua.HistoryReadResult(StatusCode=denied) for _ in params.NodesToRead]
        if self._core.history is None:
            raise ServiceError(StatusCodes.BadHistoryOperationUnsupported)
        return await self._core.history.read(params, self._continuations, audits=self.may(Right.AUDIT))

    # -- changing -----------------------------------------------------------------------------------------------------

    async def write(self, params: Any) -> list[ua.StatusCode]:
        """Ask for all nodes at once, and answer when each is settled."""
        nodes = params.NodesToWrite
        if len(nodes) > MOST_WRITES_PER_CALL:
            return [_status(StatusCodes.BadTooManyOperations) for _ in nodes]
        user = (self.user.name or "") if self.may(Right.WRITE) else ""
        codes = await asyncio.gather(*(self._core.writes.carry_out(user, wanted_of(one)) for one in nodes))
        self._tell_denied("a write of", [(one.NodeId, code) for one, code in zip(nodes, codes, strict=True)])
        return list(codes)

    async def call(self, params: list[Any]) -> list[Any]:
        """Call methods."""
        vision = self._core.vision
        if vision is not None and sum(vision.knows(one.MethodId) for one in _few(params)) > MOST_VISION_CALLS:
            raise ServiceError(StatusCodes.BadTooManyOperations)
        results = [await self._call(one) for one in _few(params)]
        self._tell_denied(
            "a call of", [(one.MethodId, told.StatusCode) for one, told in zip(params, results, strict=True)]
        )
        return results

    def _tell_denied(self, wanted: str, answers: Sequence[tuple[Any, ua.StatusCode]]) -> None:
        """Say what of a request was refused for want of a right."""
        nodes = [node for node, status in answers if status.value == StatusCodes.BadUserAccessDenied]
        if nodes:
            more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
            self._core.denied(f"{wanted} {nodes[0].to_string()}{more}", self.user.name or "")

    async def _call(self, one: Any) -> Any:
        methods = self._core.methods
        if methods is not None and methods.knows(one.MethodId):
            return await methods.call(one.ObjectId, one.MethodId, one.InputArguments or [], self.user)
        vision = self._core.vision
        if vision is not None and vision.knows(one.MethodId):
            return await vision.call(one, Caller(self.user.name or "", self.may, self._handles))
        method = cast(int, one.MethodId.Identifier) if one.MethodId.NamespaceIndex == 0 else _NONE
        if not self.may(Right.READ if method in READERS_METHODS else Right.CALL):
            return ua.CallMethodResult(StatusCode=_status(StatusCodes.BadUserAccessDenied))
        conditions, given = self._core.conditions, cast("list[Any]", one.InputArguments or [])
        if conditions is not None and method in REFRESHES:
            return ua.CallMethodResult(StatusCode=_status(self._refresh(conditions, given, REFRESHES[method])))
        if conditions is not None and method in METHODS:
            code = await conditions.call(one.ObjectId, METHODS[method], given, self.user.name or "")
            return ua.CallMethodResult(StatusCode=_status(code))
        return (await super().call([one]))[0]

    def _refresh(self, conditions: Conditions, given: Sequence[Any], count: int) -> int:
        """Tell one of the session's subscriptions all alarms that are retained (OPC 10000-9, 5.5.7 and 5.5.8)."""
        if len(given) != count:
            return StatusCodes.BadArgumentsMissing if len(given) < count else StatusCodes.BadTooManyArguments
        numbers = [one.Value for one in given]
        if not all(isinstance(number, int) for number in numbers):
            return StatusCodes.BadInvalidArgument
        try:
            self._own(numbers[0])
        except ServiceError as error:
            return int(error.code)
        return self._core.subscriptions.refresh(numbers[0], numbers[1] if count > 1 else None, conditions.refreshed)

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def _own(self, subscription_id: int) -> None:
        found = self._core.subscriptions.subscriptions.get(subscription_id)
        if found is None or found.session_id != self.session_id:
            raise ServiceError(StatusCodes.BadSubscriptionIdInvalid)

    async def create_subscription(self, params: Any, callback: Publish, request_callback: Request | None = None) -> Any:
        """Begin a subscription."""
        return await super().create_subscription(params, callback, request_callback)

    async def create_monitored_items(self, params: Any) -> list[Any]:
        """Watch nodes."""
        self._own(params.SubscriptionId)
        _few(params.ItemsToCreate)
        return await super().create_monitored_items(params)

    async def modify_monitored_items(self, params: Any) -> list[Any]:
        """Change filters and queues."""
        self._own(params.SubscriptionId)
        _few(params.ItemsToModify)
        return await super().modify_monitored_items(params)

    async def delete_monitored_items(self, params: Any) -> list[ua.StatusCode]:
        """Watch no longer."""
        self._own(params.SubscriptionId)
        _few(params.MonitoredItemIds)
        return await super().delete_monitored_items(params)

    async def set_monitoring_mode(self, params: Any) -> list[ua.StatusCode]:
        """Disable, sample or report."""
        self._own(params.SubscriptionId)
        _few(params.MonitoredItemIds)
        return await super().set_monitoring_mode(params)

    async def set_publishing_mode(self, params: Any) -> list[ua.StatusCode]:
        """Tell news, or keep-alives only."""
        results: list[ua.StatusCode] = []
        for number in _few(params.SubscriptionIds):
            one = ua.SetPublishingModeParameters(PublishingEnabled=params.PublishingEnabled, SubscriptionIds=[number])
            results += await self._each(number, super().set_publishing_mode, one)
        return results

    async def delete_subscriptions(self, ids: list[int]) -> list[ua.StatusCode]:
        """End own subscriptions."""
        results: list[ua.StatusCode] = []
        for number in _few(ids):
            results += await self._each(number, super().delete_subscriptions, [number])
        return results

    async def _each(self, number: int, carry: Callable[[Any], Any], params: object) -> list[ua.StatusCode]:
        try:
            self._own(number)
        except ServiceError as error:
            return [_status(error.code)]
        return cast("list[ua.StatusCode]", await carry(params))

    def modify_subscription(self, params: Any) -> Any:
        """Change a subscription's intervals."""
        self._own(params.SubscriptionId)
        return super().modify_subscription(params)

    def republish(self, params: Any) -> Any:
        """Send a message again."""
        self._own(params.SubscriptionId)
        return super().republish(params)

    def publish(self, acks: Iterable[Any] | None = None) -> tuple[int, list[ua.StatusCode]]:
        """Take acknowledgements; asyncua would take them for anybody's."""
        return self._core.subscriptions.acknowledge(self.session_id, acks or [])

    async def transfer_subscriptions(  # type: ignore[override]  # asyncua's own session takes it too
        self, params: Any, callback: Publish
    ) -> list[Any]:
        """Give nobody another session's subscriptions: those of an ended one are gone, the others are in use."""
        gone = _status(StatusCodes.BadSubscriptionIdInvalid)
        return [ua.TransferResult(StatusCode=gone) for _ in _few(params.SubscriptionIds)]


def _few(asked: Sequence[Asked]) -> list[Asked]:
    if not asked:
        raise ServiceError(StatusCodes.BadNothingToDo)
    if len(asked) > MOST_NODES_PER_CALL:
        raise ServiceError(StatusCodes.BadTooManyOperations)
    return list(asked)


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
