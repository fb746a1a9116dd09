"""THE TABLE of the device's events that say who did what.

They are for auditors: the historian keeps them, and OPC UA sessions with the right `audit` alone hear them. Those
that a MES counts by are told there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from schemas.fields import Value

ALARM_HANDLED: Final = "alarm_handled"
METHOD_CALLED: Final = "method_called"
ACCESS_DENIED: Final = "access_denied"
JUDGED: Final = "judged"


@dataclass(frozen=True)
class Deed:
    """What people do. `by`: the arguments that say who, the first that says something counts.

    `fails`: it is never carried out; `counts`: a MES counts by it.
    """

    text: str
    by: tuple[str, ...] = ("by",)
    fails: bool = False
    counts: bool = False

    def succeeded(self, arguments: Mapping[str, Value]) -> bool:
        """Whether it was carried out."""
        return not self.fails and arguments.get("status", "Good") == "Good"


DEEDS: Final[Mapping[str, Deed]] = MappingProxyType({
    ALARM_HANDLED: Deed("an alarm was acknowledged, confirmed, commented, shelved, disabled or enabled"),
    METHOD_CALLED: Deed("a method of ours was called"),
    "config_applied": Deed("settings, or the version of a model, were changed", ("origin",)),
    "write_done": Deed("a tag was written", ("on_behalf", "origin")),
    "write_refused": Deed("a tag was not written", ("on_behalf", "origin"), fails=True),
    ACCESS_DENIED: Deed("somebody was refused who has no right to what was asked, or is not who was named", fails=True),
    JUDGED: Deed("a part was judged on the operators' page", counts=True),
})  # fmt: skip


def is_for_auditors(code: str) -> bool:
    """Whether auditors alone shall hear an event."""
    deed = DEEDS.get(code)
    return deed is not None and not deed.counts
