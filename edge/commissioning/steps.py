"""THE TABLE of what an engineer does at a real PLC in a guided run, and what shows that it happened. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.commissioning.faults import Times


class Sign(StrEnum):
    """What shows on the bus that a step was done, from which its time counts."""

    LINK = "the last good scan"
    STILL = "the fail-safe"
    WILL = "the process's last will"
    BUS = "the broker's connection"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row. `{source}`, `{process}` and `{unit}` stand for those of the device. `asked` is put to the engineer.

    `may_be_back`: started again before the lease ends, it disturbs nobody.
    """

    key: str
    title: str
    pull: str
    mend: str
    sign: Sign
    asked: str
    process: str = ""
    may_be_back: bool = False

    def limit(self, times: Times) -> float | None:
        """Return within which time from the sign the fail-safe has to be latched, milliseconds; None: not known."""
        if self.sign is Sign.LINK:
            return times.notice + times.heartbeat
        return times.lease + times.heartbeat if self.process in ("runtime", "broker") else None


_REJECTED: Final = "From then on until the reset, did the PLC reject every part?"
_WATCHDOG: Final = "Did the PLC's watchdog trip, and did it reject every part until the reset?"
STEPS: Final = (
    Step(key="cable", title="Cable to {source} pulled", sign=Sign.LINK, asked=_WATCHDOG,
         pull="Pull the network cable between this device and {source}.", mend="Plug it in again."),
    Step(key="stop", title="{source} in STOP", sign=Sign.STILL, asked=_REJECTED,
         pull="Switch the PLC {source} to STOP, its program must not run.", mend="Switch it to RUN again."),
    Step(key="connect", title="{process} killed", sign=Sign.WILL, asked=_WATCHDOG, process="connect", mend="",
         pull="Kill the process {process}: under systemd `systemctl kill -s KILL {unit}`."),
    Step(key="runtime", title="{process} killed", sign=Sign.WILL, asked=_REJECTED, process="runtime", mend="",
         may_be_back=True, pull="Kill the process {process}: under systemd `systemctl kill -s KILL {unit}`."),
    Step(key="broker", title="Broker killed", sign=Sign.BUS, asked=_REJECTED, process="broker", mend="",
         may_be_back=True, pull="Kill the device's broker: under systemd `systemctl kill -s KILL {unit}`."),
)  # fmt: skip
KEYS: Final = tuple(step.key for step in STEPS)
