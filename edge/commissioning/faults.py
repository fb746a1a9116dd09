"""THE TABLE of faults that are pulled on the simulated line, and within which time the PLC must be safe. Pure.

docs/explanation/fail-safe.md explains each row and its times.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from edge.plc.outputs.machine import plc_watchdog_ms
from edge.processes import CONNECT, RUNTIME
from edge.settings import Outputs, Source
from edge.supervision.child import ABORT_S

RECOVERY_MS: Final = 5_000.0  # from a fault's end, or a process's, until the device's heartbeat moves again
REARM_MS: Final = 1_000.0  # for so long the PLC holds the reset: the device has to see it and be armed within
HOLD_S: Final = 2.5  # a fault that does not end by itself
Kind = Literal["cut", "slow", "garbage", "wrong-type", "freeze", "killed", "hung"]


class Acts(StrEnum):
    """Who makes the PLC safe."""

    WATCHDOG = "the PLC's watchdog"
    LEASE = "the device, as its lease ends"
    LOST = "the device, as it can't read the PLC's heartbeat any more, then the PLC's watchdog"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row. `process`: who is killed or hung, else it is the cable or the PLC.

    `heard`: writes may still arrive until the device has noticed. `may_be_back`: started again before the lease ends,
    it disturbs nobody.
    """

    key: str
    title: str
    how: str
    kind: Kind
    acts: Acts
    process: str = ""
    heard: bool = False
    may_be_back: bool = False


_FOR: Final = f"for {HOLD_S:g} s"
FAULTS: Final = (
    Fault(key="cut", title="Cable to the PLC cut", kind="cut", acts=Acts.WATCHDOG,
          how=f"nothing passes {_FOR}, no connection is reset"),
    Fault(key="slow", title="Cable to the PLC slow", kind="slow", acts=Acts.WATCHDOG, heard=True,
          how=f"each piece is delayed by 0.2 s {_FOR}"),
    Fault(key="garbage", title="Cable to the PLC garbled", kind="garbage", acts=Acts.WATCHDOG, heard=True,
          how=f"bits of what the PLC says are flipped {_FOR}"),
    Fault(key="wrong-type", title="Another program in the PLC", kind="wrong-type", acts=Acts.LOST,
          how=f"the PLC refuses what the tag list reads {_FOR}"),
    Fault(key="freeze", title="PLC in STOP, its communication answers", kind="freeze", acts=Acts.WATCHDOG,
          how=f"all values stand still {_FOR}, what is written is carried out by nobody"),
    Fault(key="connect-killed", title="connect killed", kind="killed", acts=Acts.WATCHDOG, process="connect",
          how="SIGKILL"),
    Fault(key="connect-hung", title="connect hung", kind="hung", acts=Acts.WATCHDOG, process="connect",
          how="SIGSTOP, until the supervisor kills it"),
    Fault(key="runtime-killed", title="runtime killed", kind="killed", acts=Acts.LEASE, process="runtime",
          how="SIGKILL", may_be_back=True),
    Fault(key="runtime-hung", title="runtime hung", kind="hung", acts=Acts.LEASE, process="runtime",
          how="SIGSTOP, until the supervisor kills it"),
    Fault(key="broker-killed", title="Broker killed", kind="killed", acts=Acts.LEASE, process="broker",
          how="SIGKILL", may_be_back=True),
    Fault(key="broker-hung", title="Broker hung", kind="hung", acts=Acts.LEASE, process="broker",
          how=f"SIGSTOP {_FOR}"),
)  # fmt: skip
KEYS: Final = tuple(fault.key for fault in FAULTS)


@dataclass(frozen=True, kw_only=True)
class Times:
    """The times of the settings that limits follow from, milliseconds."""

    lease: float
    heartbeat: float
    watchdog: float
    notice: float  # a poll period and the source's timeout
    alive: float  # after which a PLC whose heartbeat can't be seen to move counts as lost

    @property
    def bad(self) -> float:
        """Within which time tags that can't be read are Bad."""
        return self.notice + self.heartbeat

    def limit(self, fault: Fault) -> float:
        """Return within which time from the fault the PLC must stand at the fail-safe.

        One heartbeat is allowed beyond the watchdog or the lease: so finely does the device act.
        """
        span = self.lease if fault.acts is Acts.LEASE else self.watchdog
        noticed = self.alive + self.notice if fault.acts is Acts.LOST else self.notice if fault.heard else 0.0
        return span + self.heartbeat + noticed

    def recovery(self, fault: Fault) -> float:
        """Return within which time the device must be ready to be re-armed, from the end of the fault.

        A hung process ends when its supervisor has noticed and killed it.
        """
        watched_s = {CONNECT.name: CONNECT.watchdog_s, RUNTIME.name: RUNTIME.watchdog_s}.get(fault.process)
        noticed_s = watched_s + ABORT_S if fault.kind == "hung" and watched_s is not None else 0.0
        return RECOVERY_MS + noticed_s * 1e3


def times_of(outputs: Outputs, source: Source) -> Times:
    """Return the times that hold for a pipeline's outputs."""
    return Times(
        lease=outputs.lease_ms, heartbeat=outputs.heartbeat_ms, watchdog=plc_watchdog_ms(outputs),
        notice=min(source.groups.values()) + source.timeout_ms, alive=source.alive_ms,
    )  # fmt: skip
