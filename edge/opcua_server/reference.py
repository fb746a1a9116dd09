"""Writes docs/reference/opcua.md, and the demo's address space beside it.

`python -m edge.opcua_server.reference`; tests/edge/opcua_server/test_reference.py compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.audit.deeds import DEEDS
from edge.opcua_server.access.people import RIGHTS, Right
from edge.opcua_server.address_space.export import nodeset
from edge.opcua_server.address_space.fields import (
    HEALTH,
    INSIGHT,
    MODEL,
    OUTPUT,
    RESULT,
    SELECT_RECIPE,
    SELF_TEST,
    SLOT,
    Field,
    Method,
)
from edge.opcua_server.address_space.nodes import NAMESPACE
from edge.opcua_server.address_space.units import CODES
from edge.opcua_server.events.happenings import AUDIT_EVENT, TYPES
from edge.opcua_server.history.aggregates import FUNCTIONS
from edge.opcua_server.limits import CONTINUATION_S, CONTINUATIONS, HISTORY_NODES, HISTORY_VALUES
from edge.opcua_server.vision.page import vision_page
from edge.settings import load_settings

REFERENCE: Final = Path("docs/reference/opcua.md")
DEMO: Final = Path("edge/sim/demo")
DEMO_SET: Final = Path("docs/reference/opcua-demo.nodeset2.xml")
_PREFACE: Final = f"""\
Namespace `{NAMESPACE}`. Look its index up by this URI. NodeIds are strings that follow the path below
`SITE/LINE/NODE`, such as `demo/line1/edge1/Sources/plant/Line.Speed`, and stay the same over restarts. The demo's whole
address space is [opcua-demo.nodeset2.xml](opcua-demo.nodeset2.xml); `plantedge opcua export` writes a device's own.

How to connect is in [connect a SCADA system](../how-to/connect-scada.md)."""
_SOURCES: Final = """\
A variable per tag of the source's tag list, of the type that the PLC has; Double where the tag is scaled, String for
times, an array for arrays. With `unit` it has EngineeringUnits, with `min` and `max` EURange: AnalogUnitRangeType,
AnalogUnitType, AnalogItemType, else BaseDataVariableType. StatusCode and SourceTimestamp are those of the poll."""
_MODELS: Final = "A folder per model. It also organizes the pipelines that run the model."
_METHODS: Final = """\
Whoever has the rights `call` and `write` calls them; of the others UserExecutable is false. Each call that was allowed
is an event `method_called` on the device's bus, with who called and its status."""
_RECIPES: Final = """\
Where the pipeline has recipes. It takes the write path of the tag that chooses them, with its checks and its
read-back, and is answered as a Write to that tag would be: Good, BadNoCommunication (the PLC is away), BadTimeout,
BadDeviceFailure and so on. BadInvalidArgument: the pipeline has no such recipe, or no value of the tag stands for it.
BadNotWritable, and Executable is false: the tag is not `rw`. A camera whose recipes the same tag chooses follows it."""
_TESTS: Final = """\
It runs below the line's own work and changes nothing. BadTooManyOperations: another one is under way;
BadInvalidState: a model is being loaded; BadNotFound: no version serves; BadTimeout: no answer within ten seconds. A
model that does not pass is answered with Good and `Passed` false. How it went is an event `model_tested`, an alarm if
it failed. The next request of the same connection waits for it, as for a Write."""
_MACHINE: Final = """\
With `[opcua.machine]` in `device.toml` the machine's nameplate stands under `Machines`, as OPC 40001-1 (Machinery) and
OPC 10000-100 (DI) have it: Manufacturer, SerialNumber, ProductInstanceUri, and Model, YearOfConstruction and Location
where they are given. Of those standards only the types that the nameplate uses are there."""
_HISTORY: Final = """\
Tags that are no arrays and the variables marked above have a history (HistoryRead, OPC 10000-11): raw with bounds and
continuation points, at times, and processed. It is the historian's store on the device; who has the right `history`
reads it. A tag is stored when it changes and at least every ten seconds, so a value holds until the next (Stepped):
between two that are further apart than 30 seconds the device was away. Integers are kept as doubles, exact to 2^53.

An answer has {values} values at most, of {nodes} nodes at most; a session has {points} continuation points, each for
{seconds:.0f} seconds. Past events are told at the Server object and at the device's (the events of its bus), and at
each pipeline's (its results).

Aggregates (OPC 10000-13): {aggregates}."""
_EVENTS: Final = """\
The Server object tells all events, the device's object its own and those of its pipelines and sources. Filters take
all operators but Cast, InView, RelatedTo and the bitwise ones. Our own event types, below the standard's:"""
_DEEDS: Final = """\
It is told to sessions with the right `audit` alone, live and of the past: there `ClientUserId` is who it was, `Status`
whether it was done. These are, by their `Code`:"""
_ALARMS: Final = """\
Alarms (OPC 10000-9) stand under `Alarms` and at the nodes that they are about. Whoever has the right `call` may
acknowledge, confirm, comment, shelve (for eight hours at most), disable and enable; who did so is an event
`alarm_handled` on the device's bus, and ClientUserId of the alarm. Observers hear alarms and refresh. There are no
branches. After a restart of the server, a kill or a power cut too, an alarm is as people left it: acknowledged,
confirmed, shelved or disabled, with its comment and its EventIds; what the line has done since is told as news.

| alarm | type | is active while |
| --- | --- | --- |
| `Sources/SOURCE/PlcLost` | OffNormalAlarmType | the source can't be reached |
| `Pipelines/PIPELINE/ModelDegraded` | ExclusiveLevelAlarmType | the drift level is `model_degraded` |
| `Pipelines/PIPELINE/DeadlineMissed` | OffNormalAlarmType | results of the last ten seconds came after their deadline |
| `Server/CertificateExpiring` | CertificateExpirationAlarmType | the server's certificate has under 30 days |"""
_ROLES: Final = """\
`[opcua.roles]` gives a user, or a user's certificate by its common name, a role. Whoever has none observes."""
_UNITS: Final = """\
These have a UNECE code in EngineeringUnits; another unit is shown by its text alone."""


def reference() -> str:
    """Return the page."""
    parts = [
        "<!-- generated by python -m edge.opcua_server.reference, do not edit -->", "# OPC UA address space", _PREFACE,
        "## Sources/SOURCE/TAG", _SOURCES, "## Pipelines/PIPELINE", _table((*RESULT, *INSIGHT, *SLOT)),
        "Where the pipeline has outputs:", _table(OUTPUT), "## Models/MODEL", _MODELS, _table(MODEL),
        "## Methods", _METHODS, "### Pipelines/PIPELINE/SelectRecipe", *_method(SELECT_RECIPE, _RECIPES),
        "### Models/MODEL/SelfTest", *_method(SELF_TEST, _TESTS),
        "## Health/PROCESS", _table(HEALTH), "## Machines", _MACHINE, *vision_page(), "## History", _history(),
        "## Events", _EVENTS, *_event_types(), "## Alarms", _ALARMS, "## Roles", _ROLES, _roles(), "## Units", _UNITS,
        ", ".join(f"`{unit}` {code}" for unit, code in CODES.items()),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _table(fields: Sequence[Field]) -> str:
    lines = ["| variable | type | unit | history | what it says |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{one.name}` | {one.variant.name} | {one.unit} | {'yes' if one.stored else ''} | {one.text} |"
        for one in fields
    ]
    return "\n".join(lines)


def _method(method: Method, text: str) -> list[str]:
    parts = [f"{method.text[0].upper()}{method.text[1:]}.", text]
    for kind, fields in (("input", method.inputs), ("output", method.outputs)):
        if fields:
            lines = [f"| {kind} | type | what it says |", "| --- | --- | --- |"]
            lines += [f"| `{one.name}` | {one.variant.name} | {one.text} |" for one in fields]
            parts.append("\n".join(lines))
    return parts


def _history() -> str:
    return _HISTORY.format(
        values=f"{HISTORY_VALUES:,}", nodes=HISTORY_NODES, points=CONTINUATIONS, seconds=CONTINUATION_S,
        aggregates=", ".join(FUNCTIONS),
    )  # fmt: skip


def _event_types() -> list[str]:
    parts: list[str] = []
    for name, (_, fields, text) in TYPES.items():
        lines = ["| field | type | what it says |", "| --- | --- | --- |"]
        lines += [f"| `{one.name}` | {one.variant.name} | {one.text} |" for one in fields]
        parts += [f"### {name}", f"{text[0].upper()}{text[1:]}.", "\n".join(lines)]
        if name == AUDIT_EVENT:
            parts += [_DEEDS, "\n".join(f"- `{code}`: {deed.text}" for code, deed in DEEDS.items())]
    return parts


def _roles() -> str:
    lines = [f"| role | {' | '.join(Right)} |", "| --- |" + " --- |" * len(Right)]
    lines += [
        f"| {role} | {' | '.join('yes' if right in RIGHTS[role] else '' for right in Right)} |" for role in RIGHTS
    ]
    return "\n".join(lines)


def demo_set() -> str:
    """Return the demo's address space as NodeSet2 XML."""
    text = asyncio.run(nodeset(load_settings(DEMO), DEMO))
    first, _, rest = text.partition("\n")
    return f"{first}\n<!-- generated by python -m edge.opcua_server.reference, do not edit -->\n{rest}"


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    DEMO_SET.write_text(demo_set(), encoding="utf-8")
