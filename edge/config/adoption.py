"""Whether the processes that a change of settings concerns have come up with it. Pure: statuses in, verdict out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from schemas.messages import State, Status

COME_UP_S = 15.0
UNWELL_S = 3.0  # a process that starts may be unwell for a moment: until its PLC answers, or is armed again
WELL = (State.ACTIVE, State.IDLE)


class Adoption:
    """One version of one section on its way into the processes named. Times are seconds of one clock."""

    def __init__(self, section: str, version: int, processes: Collection[str], now_s: float) -> None:
        """Wait for all of them from now on."""
        self._section, self._version, self._missing = section, version, set(processes)
        self._end_s = now_s + COME_UP_S
        self._unwell_s: dict[str, float] = {}

    @property
    def due_s(self) -> float:
        """When to look again, though nothing has been heard."""
        return min([self._end_s, *(since + UNWELL_S for since in self._unwell_s.values())])

    def problems(self, statuses: Mapping[str, Status], now_s: float) -> list[str] | None:
        """Return [] once all run well with it, why not as soon as one is known not to, None while that is open."""
        heard = {name: status for name in self._missing if (status := statuses.get(name))}
        with_it = {name: one for name, one in heard.items() if one.config.get(self._section, 0) == self._version}
        self._missing -= {name for name, status in with_it.items() if status.state in WELL}
        degraded = {name for name, status in with_it.items() if status.state is State.DEGRADED}
        self._unwell_s = {name: self._unwell_s.get(name, now_s) for name in degraded}
        failed = {name for name, status in with_it.items() if status.state is State.STOPPED}
        failed |= {name for name, since in self._unwell_s.items() if now_s - since >= UNWELL_S}
        if failed:
            return [f"{name} is {with_it[name].state} with it: {with_it[name].reason}" for name in sorted(failed)]
        if self._missing and now_s >= self._end_s:
            return [_too_late(name, heard.get(name)) for name in sorted(self._missing)]
        return None if self._missing else []


def _too_late(name: str, status: Status | None) -> str:
    said = f"; it says {status.state} {status.reason}".rstrip() if status else ""
    return f"{name} did not come up with it within {COME_UP_S:.0f} s{said}"
