"""The life of an alarm (OPC 10000-9, 5.5 to 5.8). Pure: a state and what befalls it give the next state.

There are no branches: of each alarm there is its current state alone. One that comes again before anybody has
acknowledged it stays unacknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from asyncua.ua.status_codes import StatusCodes

MOST_IDS: Final = 50  # events of one activation that can be acknowledged by their id
LONGEST_SHELVED_NS: Final = 8 * 3600 * 10**9  # a shift


class AlarmRefused(Exception):
    """What can't be done to an alarm in its state; `code` is its StatusCode."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(hex(code))
        self.code = code


class Shelving(StrEnum):
    """Whether operators hear of it (ShelvedStateMachineType, 5.8.17)."""

    UNSHELVED = "Unshelved"
    TIMED = "TimedShelved"
    ONE_SHOT = "OneShotShelved"


@dataclass(frozen=True)
class Alarm:
    """An alarm's state. `*_ns`: since when; `ids`: the events that have told of it since it became active."""

    severity: int
    text: str = ""
    enabled: bool = True
    active: bool = False
    acked: bool = True
    confirmed: bool = True
    shelving: Shelving = Shelving.UNSHELVED
    unshelve_ns: int = 0
    last_severity: int = 0
    comment: str = ""
    by: str = ""
    ids: tuple[bytes, ...] = ()
    time_ns: int = 0
    enabled_ns: int = 0
    active_ns: int = 0
    acked_ns: int = 0
    confirmed_ns: int = 0
    comment_ns: int = 0
    severity_ns: int = 0

    @property
    def retain(self) -> bool:
        """Whether a client that refreshes is told of it."""
        return self.enabled and (self.active or not self.acked or not self.confirmed)

    @property
    def matters(self) -> bool:
        """Whether anything is to be known of it after a restart."""
        return self.retain or self.shelved or not self.enabled

    @property
    def shelved(self) -> bool:
        """Whether it is shelved."""
        return self.shelving is not Shelving.UNSHELVED

    # -- what befalls it ----------------------------------------------------------------------------------------------

    def told(self, event_id: bytes) -> Alarm:
        """Return it with the id of the event that tells of its state."""
        return replace(self, ids=(*self.ids, event_id)[-MOST_IDS:])

    def raised(self, text: str, severity: int, now_ns: int) -> Alarm:
        """Return it active; as it is where it is disabled or says the same already."""
        if not self.enabled or (self.active and (text, severity) == (self.text, self.severity)):
            return self
        worse = self._weighed(severity, now_ns)
        if self.active:
            return replace(worse, text=text, time_ns=now_ns)
        fresh = () if self.acked else self.ids
        return replace(
            worse, text=text, active=True, acked=False, confirmed=True, ids=fresh, time_ns=now_ns, active_ns=now_ns,
            acked_ns=now_ns, confirmed_ns=now_ns,
        )  # fmt: skip

    def cleared(self, text: str, now_ns: int) -> Alarm:
        """Return it inactive; one that was shelved once is so no longer."""
        if not self.enabled or not self.active:
            return self
        shelving = Shelving.UNSHELVED if self.shelving is Shelving.ONE_SHOT else self.shelving
        return replace(self, text=text, active=False, shelving=shelving, time_ns=now_ns, active_ns=now_ns)

    def _weighed(self, severity: int, now_ns: int) -> Alarm:
        if severity == self.severity:
            return self
        return replace(self, last_severity=self.severity, severity=severity, severity_ns=now_ns)

    # -- what people do with it ---------------------------------------------------------------------------------------

    def acknowledged(self, event_id: bytes, comment: str | None, by: str, now_ns: int) -> Alarm:
        """Return it acknowledged, to be confirmed.

        Raises:
            AlarmRefused: it is not of this event, is acknowledged, or disabled. So do the others.
        """
        self._of(event_id)
        if self.acked:
            raise AlarmRefused(StatusCodes.BadConditionBranchAlreadyAcked)
        return replace(
            self._noted(comment, by, now_ns), acked=True, confirmed=False, acked_ns=now_ns, confirmed_ns=now_ns
        )

    def confirm(self, event_id: bytes, comment: str | None, by: str, now_ns: int) -> Alarm:
        """Return it confirmed: what was to be done is done."""
        self._of(event_id)
        if self.confirmed:
            raise AlarmRefused(StatusCodes.BadConditionBranchAlreadyConfirmed)
        return replace(self._noted(comment, by, now_ns), confirmed=True, confirmed_ns=now_ns)

    def commented(self, event_id: bytes, comment: str | None, by: str, now_ns: int) -> Alarm:
        """Return it with a comment."""
        self._of(event_id)
        return self._noted(comment, by, now_ns)

    def _of(self, event_id: bytes) -> None:
        if not self.enabled:
            raise AlarmRefused(StatusCodes.BadConditionDisabled)
        if event_id not in self.ids:
            raise AlarmRefused(StatusCodes.BadEventIdUnknown)

    def _noted(self, comment: str | None, by: str, now_ns: int) -> Alarm:
        """Return it with who did something; None leaves the comment as it was."""
        noted = replace(self, by=by, time_ns=now_ns)
        return noted if comment is None else replace(noted, comment=comment, comment_ns=now_ns)

    def enable(self, by: str, now_ns: int) -> Alarm:
        """Return it enabled, inactive until it is raised again."""
        if self.enabled:
            raise AlarmRefused(StatusCodes.BadConditionAlreadyEnabled)
        return replace(self, enabled=True, by=by, time_ns=now_ns, enabled_ns=now_ns)

    def disable(self, by: str, now_ns: int) -> Alarm:
        """Return it disabled: nothing raises it, and it has nothing to acknowledge."""
        if not self.enabled:
            raise AlarmRefused(StatusCodes.BadConditionAlreadyDisabled)
        return replace(
            self, enabled=False, active=False, acked=True, confirmed=True, shelving=Shelving.UNSHELVED, by=by,
            time_ns=now_ns, enabled_ns=now_ns,
        )  # fmt: skip

    def shelve(self, for_ns: int | None, by: str, now_ns: int) -> Alarm:
        """Return it shelved for a time, or with None until it has become inactive."""
        kind = Shelving.ONE_SHOT if for_ns is None else Shelving.TIMED
        if not self.enabled:
            raise AlarmRefused(StatusCodes.BadConditionDisabled)
        if for_ns is not None and not 0 < for_ns <= LONGEST_SHELVED_NS:
            raise AlarmRefused(StatusCodes.BadShelvingTimeOutOfRange)
        if self.shelving is kind:
            raise AlarmRefused(StatusCodes.BadConditionAlreadyShelved)
        until_ns = now_ns + (LONGEST_SHELVED_NS if for_ns is None else for_ns)
        return replace(self, shelving=kind, unshelve_ns=until_ns, by=by, time_ns=now_ns)

    def unshelve(self, by: str, now_ns: int) -> Alarm:
        """Return it as operators hear of it."""
        if not self.shelved:
            raise AlarmRefused(StatusCodes.BadConditionNotShelved)
        return replace(self, shelving=Shelving.UNSHELVED, by=by, time_ns=now_ns)

    def passed(self, now_ns: int) -> Alarm:
        """Return it unshelved if its time is over."""
        return self.unshelve("", now_ns) if self.shelved and now_ns >= self.unshelve_ns else self
