"""Alarms in the address space and as events, and the methods that people handle them with (OPC 10000-9)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.alarm_store import AlarmStore
from edge.opcua_server.alarms import LONGEST_SHELVED_NS, Alarm, AlarmRefused, Shelving
from edge.opcua_server.happenings import SERVER, Happening, Source, base_fields, date_time
from edge.opcua_server.nodes import COMPONENT, PROPERTY, PROPERTY_TYPE, Ids, New, Nodes, standard, string_id

T = ua.VariantType
LONGEST_COMMENT: Final = 1000
LONGEST_TEXT: Final = 1000
# The types' own methods, which all instances share: a client finds them below each (5.5.4 and following).
METHODS: Final[Mapping[int, str]] = MappingProxyType({
    Ids.ConditionType_Enable: "enable", Ids.ConditionType_Disable: "disable", Ids.ConditionType_AddComment: "comment",
    Ids.AcknowledgeableConditionType_Acknowledge: "acknowledge", Ids.AcknowledgeableConditionType_Confirm: "confirm",
    Ids.ShelvedStateMachineType_TimedShelve: "shelve", Ids.ShelvedStateMachineType_OneShotShelve: "shelve_once",
    Ids.ShelvedStateMachineType_Unshelve: "unshelve", Ids.AlarmConditionType_ShelvingState_TimedShelve: "shelve",
    Ids.AlarmConditionType_ShelvingState_OneShotShelve: "shelve_once",
    Ids.AlarmConditionType_ShelvingState_Unshelve: "unshelve",
})  # fmt: skip
_OWN_METHODS: Final = (
    Ids.ConditionType_Enable, Ids.ConditionType_Disable, Ids.ConditionType_AddComment,
    Ids.AcknowledgeableConditionType_Acknowledge, Ids.AcknowledgeableConditionType_Confirm,
)  # fmt: skip
_SHELVING_METHODS: Final = (
    Ids.ShelvedStateMachineType_TimedShelve, Ids.ShelvedStateMachineType_OneShotShelve,
    Ids.ShelvedStateMachineType_Unshelve,
)  # fmt: skip
_SHELVES: Final[Mapping[Shelving, int]] = MappingProxyType({
    Shelving.UNSHELVED: Ids.ShelvedStateMachineType_Unshelved, Shelving.TIMED: Ids.ShelvedStateMachineType_TimedShelved,
    Shelving.ONE_SHOT: Ids.ShelvedStateMachineType_OneShotShelved,
})  # fmt: skip
# What a component is; all else is a property.
_COMPONENTS: Final[Mapping[str, int]] = MappingProxyType({
    **dict.fromkeys(("EnabledState", "AckedState", "ConfirmedState", "ActiveState"), Ids.TwoStateVariableType),
    **dict.fromkeys(("Quality", "LastSeverity", "Comment"), Ids.ConditionVariableType),
    "CurrentState": Ids.FiniteStateVariableType, "ShelvingState": Ids.ShelvedStateMachineType,
    "LimitState": Ids.ExclusiveLimitStateMachineType,
})  # fmt: skip
_ARGUMENTS: Final[Mapping[str, tuple[ua.VariantType, ...]]] = MappingProxyType({
    "acknowledge": (T.ByteString, T.LocalizedText), "confirm": (T.ByteString, T.LocalizedText),
    "comment": (T.ByteString, T.LocalizedText), "shelve": (T.Double,),
})  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What an alarm is: its type, the node that it is about, who tells of it, and the fields that never change."""

    name: str
    kind: int
    category: int  # its condition class
    source: Source
    notifiers: tuple[ua.NodeId, ...]
    input: ua.NodeId
    severity: int
    details: Mapping[str, ua.Variant] = field(default_factory=dict[str, ua.Variant])


@dataclass
class Condition:
    """An alarm where it stands. `cause`: what raises it, also while it is disabled; None for nothing."""

    node: ua.NodeId
    subject: Subject
    alarm: Alarm
    latest: Happening
    cause: tuple[str, int] | None = None
    shown: Mapping[str, ua.Variant] = field(default_factory=dict[str, ua.Variant])


Tell = Callable[[Sequence[ua.NodeId], Callable[[], Happening]], object]
Audit = Callable[[str, str, str, str], None]  # what was done, to which alarm, by whom, with what comment


class Conditions:
    """All alarms of the server."""

    def __init__(
        self, server: Server, nodes: Nodes, index: int, tell: Tell, audit: Audit, store: AlarmStore
    ) -> None:  # fmt: skip
        """Have none yet; those that `store` knows are as they were."""
        self._store, self._kept = store, store.read()
        self._server, self._nodes, self._index = server, nodes, index
        self._tell, self._audit = tell, audit
        self._known: dict[str, Condition] = {}  # by the identifier of its node
        self._changed: set[str] = set()

    def add(self, path: str, parent: ua.NodeId, subject: Subject) -> None:
        """Put an alarm into the address space: as it was kept, else inactive."""
        node = string_id(path, self._index)
        name = ua.QualifiedName(subject.name, ua.UInt16(self._index))
        self._nodes.object(New(node, name, parent, COMPONENT, standard(subject.kind)))
        self._nodes.refer(subject.source.node, standard(Ids.HasCondition), node)
        new = Alarm(subject.severity, last_severity=subject.severity, time_ns=time.time_ns())
        alarm = self._kept.get(path, new)
        fields = fields_of(subject, alarm, alarm.ids[-1] if alarm.ids else b"")
        self._show(path, node, fields)
        for method in _OWN_METHODS:
            self._nodes.refer(node, COMPONENT, standard(method))
        for method in _SHELVING_METHODS:
            self._nodes.refer(string_id(f"{path}/ShelvingState", self._index), COMPONENT, standard(method))
        happening = Happening(standard(subject.kind), fields, node)
        self._known[path] = Condition(node, subject, alarm, happening, shown=fields)

    def _show(self, path: str, node: ua.NodeId, fields: Mapping[str, ua.Variant]) -> None:
        made = {"": node}
        for name, value in fields.items():
            above, _, last = name.rpartition("/")
            if above not in made:
                kind = standard(_COMPONENTS[above])
                place = string_id(f"{path}/{above}", self._index)
                made[above] = self._nodes.object(New(place, _standard_name(above), node, COMPONENT, kind))
            component = _COMPONENTS.get(last)
            new = New(
                string_id(f"{path}/{name}", self._index), _standard_name(last), made[above],
                PROPERTY if component is None else COMPONENT,
                PROPERTY_TYPE if component is None else standard(component),
            )  # fmt: skip
            made[name] = self._nodes.variable(new, ua.DataValue(value), standard(value.VariantType.value))

    # -- what happens -------------------------------------------------------------------------------------------------

    def set(self, path: str, cause: str | None, severity: int | None = None, ended: str = "") -> None:
        """Say what raises an alarm, None for nothing, with what it says then."""
        found = self._known[path]
        if cause is None:
            found.cause = None
            self._become(path, found.alarm.cleared(ended, time.time_ns()))
            return
        weighs = found.subject.severity if severity is None else severity
        if found.cause is None or found.cause[1] != weighs:  # another wording of the same is no news
            found.cause = cause[:LONGEST_TEXT], weighs
            self._become(path, found.alarm.raised(*found.cause, time.time_ns()))

    def pass_time(self) -> None:
        """Unshelve what was shelved for long enough."""
        now_ns = time.time_ns()
        for path, found in self._known.items():
            self._become(path, found.alarm.passed(now_ns))

    def _become(self, path: str, alarm: Alarm) -> None:
        found = self._known[path]
        if alarm is found.alarm:
            return
        identity = secrets.token_bytes(16)
        found.alarm = alarm.told(identity)
        fields = fields_of(found.subject, found.alarm, identity)
        happening = found.latest = Happening(standard(found.subject.kind), fields, found.node)
        self._changed.add(path)
        self._tell(found.subject.notifiers, lambda: happening)

    async def write_pending(self) -> None:
        """Show the newest state of each alarm that changed."""
        changed, self._changed = self._changed, set()
        for path in changed:
            found = self._known[path]
            for name, value in found.latest.fields.items():
                if value != found.shown.get(name):
                    shown = ua.DataValue(value, SourceTimestamp=date_time(found.alarm.time_ns))
                    await self._server.write_attribute_value(string_id(f"{path}/{name}", self._index), shown)
            found.shown = found.latest.fields

    async def keep(self) -> None:
        """Return once what is to be known after a restart is on the disk."""
        await self._store.keep({path: found.alarm for path, found in self._known.items() if found.alarm.matters})

    async def close(self) -> None:
        """Keep them for the last time."""
        await self.keep()
        self._store.close()

    def retained(self, node: ua.NodeId) -> list[Happening]:
        """Return the states that a client is told which refreshes what it knows of a node's alarms."""
        return [one.latest for one in self._known.values() if one.alarm.retain and node in one.subject.notifiers]

    def refreshed(self, node: ua.NodeId) -> list[Happening]:
        """Return the same between the events that a refresh begins and ends with (5.5.7)."""
        start, end = (
            Happening(kind, base_fields(kind, secrets.token_bytes(16), SERVER, time.time_ns(), text, 1))
            for kind, text in (
                (standard(Ids.RefreshStartEventType), "the refresh begins"),
                (standard(Ids.RefreshEndEventType), "the refresh ends"),
            )
        )
        return [start, *self.retained(node), end]

    # -- what people do -----------------------------------------------------------------------------------------------

    async def call(self, condition: ua.NodeId, method: str, arguments: Sequence[Any], by: str) -> int:
        """Carry out a method of an alarm; return its status code, once a restart does not undo it."""
        path = str(condition.Identifier).removesuffix("/ShelvingState")
        found = self._known.get(path)
        if found is None or condition.NamespaceIndex != self._index:
            return StatusCodes.BadNodeIdUnknown
        problem = _mismatch(arguments, _ARGUMENTS.get(method, ()))
        if problem:
            return problem
        try:
            alarm, comment = _handled(found.alarm, method, [one.Value for one in arguments], by, time.time_ns())
        except AlarmRefused as error:
            return error.code
        self._become(path, alarm)
        self._audit(method, path, by, comment)
        if method == "enable" and found.cause is not None:
            self._become(path, found.alarm.raised(*found.cause, time.time_ns()))
        await self.keep()
        return StatusCodes.Good


def _mismatch(given: Sequence[Any], wanted: Sequence[ua.VariantType]) -> int:
    if len(given) < len(wanted):
        return StatusCodes.BadArgumentsMissing
    if len(given) > len(wanted):
        return StatusCodes.BadTooManyArguments
    fits = all(one.VariantType in (kind, T.Null) for one, kind in zip(given, wanted, strict=True))
    return 0 if fits else StatusCodes.BadInvalidArgument


def _handled(alarm: Alarm, method: str, given: Sequence[Any], by: str, now_ns: int) -> tuple[Alarm, str]:
    """Return an alarm after a method, and the comment that came with it."""
    if method in ("acknowledge", "confirm", "comment"):
        identity, comment = bytes(given[0] or b""), _comment(given[1])
        do = {"acknowledge": alarm.acknowledged, "confirm": alarm.confirm, "comment": alarm.commented}[method]
        return do(identity, comment, by, now_ns), comment or ""
    if method in ("shelve", "shelve_once"):
        for_ns = None if method == "shelve_once" else _duration_ns(given[0])
        return alarm.shelve(for_ns, by, now_ns), ""
    return {"enable": alarm.enable, "disable": alarm.disable, "unshelve": alarm.unshelve}[method](by, now_ns), ""


def _comment(given: Any) -> str | None:
    """Return a comment; one that is null leaves the last as it is (5.5.6)."""
    if given is None or (given.Text is None and given.Locale is None):
        return None
    return str(given.Text or "")[:LONGEST_COMMENT]


def _duration_ns(given_ms: Any) -> int:
    value = float(given_ms or 0.0)
    return int(value * 1e6) if 0 < value < LONGEST_SHELVED_NS else 0  # an infinite one is out of range as well


# -- fields ---------------------------------------------------------------------------------------------------------


def fields_of(subject: Subject, alarm: Alarm, identity: bytes) -> dict[str, ua.Variant]:
    """Return the fields of the event that tells of an alarm's state; they are its nodes' values too."""
    kind, category = standard(subject.kind), _CATEGORIES[subject.category]
    shelved_for_ms = max(0, alarm.unshelve_ns - alarm.time_ns) / 1e6 if alarm.shelved else 0.0
    found = base_fields(kind, identity, subject.source, alarm.time_ns, alarm.text, alarm.severity) | {
        "ConditionClassId": ua.Variant(standard(subject.category), T.NodeId), "ConditionClassName": _text(category),
        "ConditionName": ua.Variant(subject.name, T.String), "BranchId": ua.Variant(ua.NodeId(), T.NodeId),
        "Retain": ua.Variant(alarm.retain, T.Boolean), "Quality": ua.Variant(_GOOD, T.StatusCode),
        "Quality/SourceTimestamp": _at(alarm.time_ns), "LastSeverity": ua.Variant(alarm.last_severity, T.UInt16),
        "LastSeverity/SourceTimestamp": _at(alarm.severity_ns or alarm.time_ns), "Comment": _text(alarm.comment),
        "Comment/SourceTimestamp": _at(alarm.comment_ns or alarm.time_ns),
        "ClientUserId": ua.Variant(alarm.by, T.String), "InputNode": ua.Variant(subject.input, T.NodeId),
        "SuppressedOrShelved": ua.Variant(alarm.shelved, T.Boolean),
        "MaxTimeShelved": ua.Variant(LONGEST_SHELVED_NS / 1e6, T.Double),
        "ShelvingState/CurrentState": _text(_spaced(alarm.shelving)),
        "ShelvingState/CurrentState/Id": ua.Variant(standard(_SHELVES[alarm.shelving]), T.NodeId),
        "ShelvingState/UnshelveTime": ua.Variant(shelved_for_ms, T.Double),
    }  # fmt: skip
    found |= _two_states("EnabledState", alarm.enabled, ("Enabled", "Disabled"), alarm.enabled_ns)
    found |= _two_states("AckedState", alarm.acked, ("Acknowledged", "Unacknowledged"), alarm.acked_ns)
    found |= _two_states("ConfirmedState", alarm.confirmed, ("Confirmed", "Unconfirmed"), alarm.confirmed_ns)
    found |= _two_states("ActiveState", alarm.active, ("Active", "Inactive"), alarm.active_ns)
    if "HighLimit" in subject.details:
        state = standard(Ids.ExclusiveLimitStateMachineType_High) if alarm.active else ua.NodeId()
        found["LimitState/CurrentState"] = _text("High" if alarm.active else "")
        found["LimitState/CurrentState/Id"] = ua.Variant(state, T.NodeId)
    return found | dict(subject.details)


_GOOD: Final = ua.StatusCode(ua.UInt32(StatusCodes.Good))
_CATEGORIES: Final[Mapping[int, str]] = MappingProxyType({
    Ids.ProcessConditionClassType: "ProcessConditionClass",
    Ids.MaintenanceConditionClassType: "MaintenanceConditionClass",
    Ids.SystemConditionClassType: "SystemConditionClass",
})  # fmt: skip


def _two_states(name: str, on: bool, said: tuple[str, str], since_ns: int) -> dict[str, ua.Variant]:
    return {
        name: _text(said[0] if on else said[1]), f"{name}/Id": ua.Variant(on, T.Boolean),
        f"{name}/TransitionTime": _at(since_ns),
    }  # fmt: skip


def _text(text: str) -> ua.Variant:
    return ua.Variant(ua.LocalizedText(text), T.LocalizedText)


def _at(time_ns: int) -> ua.Variant:
    return ua.Variant(date_time(time_ns), T.DateTime)


def _spaced(shelving: Shelving) -> str:
    return {Shelving.TIMED: "Timed Shelved", Shelving.ONE_SHOT: "One Shot Shelved"}.get(shelving, "Unshelved")


def _standard_name(name: str) -> ua.QualifiedName:
    return ua.QualifiedName(name, ua.UInt16(0))
