"""THE SECOND TABLE: every process of a device. systemd units and `plantedge up` are driven by it.

A process is `edge.<name>`, one file with `async def main(process)`; instances come from the device's settings
(`connect@line`). A reader of a topic here is a reader in `schemas/topics.py`; tests/edge/test_processes.py holds the
two tables together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from schemas import topics as t
from schemas.topics import Role, Topic


class Lane(StrEnum):
    """Which bus a process speaks on: the loopback client, on uvloop where a decision waits for it, or aiomqtt."""

    HOT = "hot"
    LOCAL = "local"  # on the stock loop: 9 MB less than uvloop
    CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class ProcessRow:
    """One process. `fifo`: instance -> SCHED_FIFO priority where permitted, `*` for every instance.

    `instances_of` names the settings table whose keys are its instances, "" for a single one; `sections` are the
    settings that it restarts for; `after` starts it later. `checks`: it checks settings, options or contracts itself,
    for which it loads pydantic; the others hold what was checked. `watchdog_s`: silence after which it counts as hung.
    `nice`: of the normal class, for who answers others and may wait for the line.
    """

    name: str
    role: Role
    module: str
    subscribes: tuple[Topic, ...]
    publishes: tuple[Topic, ...]
    lane: Lane = Lane.HOT
    checks: bool = False
    instances_of: str = ""
    sections: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    fifo: dict[str, int] = field(default_factory=dict[str, int])
    nice: int = 0
    watchdog_s: float = 5.0
    stop_s: float = 3.0

    def priority(self, instance: str) -> int:
        """Return an instance's SCHED_FIFO priority, 0 for the normal class."""
        return self.fifo.get(instance, self.fifo.get("*", 0))

    def identity(self, instance: str = "") -> str:
        """Return the process's slug on the bus: its user name, client id and status topic."""
        return f"{self.name}-{instance}" if instance else self.name


AGENT = ProcessRow(
    name="agent", role=Role.AGENT, module="edge.agent", checks=True, lane=Lane.CONTROL,
    subscribes=(t.SLOT_STATE, t.CONFIG_SET, t.DESIRED, t.STATUS),
    publishes=(t.SLOT_DESIRED, t.CONFIG_STATE, t.REPLY, t.EVENT, t.STATUS),
)  # fmt: skip
CONNECT = ProcessRow(
    name="connect", role=Role.CONNECT, module="edge.connect", checks=True, instances_of="sources",
    sections=("sources", "outputs"),
    subscribes=(t.DECISION, t.WRITE, t.CONFIG_STATE),
    publishes=(t.READING, t.OUTPUT, t.REPLY, t.EVENT, t.STATUS), fifo={"*": 45}, watchdog_s=2.0,
)  # fmt: skip
RUNTIME = ProcessRow(
    name="runtime", role=Role.RUNTIME, module="edge.runtime", checks=True, instances_of="lanes",
    sections=("pipelines",),
    subscribes=(t.READING, t.FRAME, t.SLOT_DESIRED, t.RELEARN, t.SELF_TEST, t.CONFIG_STATE),
    publishes=(t.DECISION, t.RESULT, t.EVIDENCE, t.INSIGHT, t.SLOT_STATE, t.REPLY, t.SELF_TEST_REPORT, t.EVENT,
               t.STATUS),
    fifo={"safety": 40}, watchdog_s=2.0, after=("agent",),
)  # fmt: skip
CAMERA = ProcessRow(
    name="camera", role=Role.CAMERA, module="edge.camera", instances_of="cameras", sections=("cameras",),
    subscribes=(t.READING, t.CONFIG_STATE), publishes=(t.FRAME, t.EVENT, t.STATUS),
)  # fmt: skip
OPCUA = ProcessRow(
    name="opcua", role=Role.OPCUA, module="edge.opcua", lane=Lane.LOCAL, sections=("opcua",),
    subscribes=(t.READING, t.RESULT, t.INSIGHT, t.EVENT, t.OUTPUT, t.SLOT_STATE, t.STATUS, t.REPLY,
                t.SELF_TEST_REPORT, t.CONFIG_STATE),
    publishes=(t.WRITE, t.SELF_TEST, t.EVENT, t.STATUS), watchdog_s=10.0, nice=10,
)  # fmt: skip
HISTORIAN = ProcessRow(
    name="historian", role=Role.HISTORIAN, module="edge.historian", lane=Lane.LOCAL, sections=("historian",),
    subscribes=(t.READING, t.RESULT, t.EVIDENCE, t.INSIGHT, t.EVENT, t.OUTPUT, t.CONFIG_STATE),
    publishes=(t.EVENT, t.STATUS), watchdog_s=10.0,
)  # fmt: skip
MIRROR = ProcessRow(
    name="mirror", role=Role.MIRROR, module="edge.mirror", lane=Lane.LOCAL,
    sections=("mirror", "site_broker", "sparkplug"),
    subscribes=(t.READING, t.RESULT, t.EVENT, t.CONFIG_STATE),
    publishes=(t.MES_RESULT, t.MES_TAG, t.MES_EVENT, t.STATUS),
)  # fmt: skip
MONITOR = ProcessRow(
    name="monitor", role=Role.MONITOR, module="edge.monitor", checks=True, lane=Lane.LOCAL,
    sections=("monitor", "sources", "cameras", "pipelines"),
    subscribes=(t.STATUS, t.SLOT_STATE, t.CONFIG_STATE), publishes=(t.STATUS,), nice=10,
)  # fmt: skip
HMI = ProcessRow(
    name="hmi", role=Role.HMI, module="edge.hmi", lane=Lane.LOCAL, sections=("hmi", "pipelines", "outputs"),
    subscribes=(t.FRAME, t.RESULT, t.OUTPUT, t.INSIGHT, t.EVENT, t.STATUS, t.CONFIG_STATE),
    publishes=(t.EVENT, t.STATUS), watchdog_s=10.0, nice=10,
)  # fmt: skip
UPLINK = ProcessRow(
    name="uplink", role=Role.UPLINK, module="edge.uplink", lane=Lane.CONTROL, sections=("uplink",),
    subscribes=(t.STATUS, t.INSIGHT, t.SLOT_STATE, t.EVENT, t.CONFIG_STATE, t.DOWN_DESIRED, t.DOWN_CONFIG,
                t.DOWN_REQUEST),
    publishes=(t.UP_HEALTH, t.UP_MODELS, t.UP_ALERT, t.UP_REPORT, t.UP_LEDGER, t.DESIRED, t.STATUS),
)  # fmt: skip

PROCESSES: tuple[ProcessRow, ...] = (
    AGENT, CONNECT, RUNTIME, CAMERA, OPCUA, HISTORIAN, MIRROR, MONITOR, HMI, UPLINK,
)  # fmt: skip


def row(name: str) -> ProcessRow:
    """Return the row of a process.

    Raises:
        KeyError: no such process; the message lists those that are.
    """
    for candidate in PROCESSES:
        if candidate.name == name:
            return candidate
    raise KeyError(f"no process {name!r}; there are {', '.join(p.name for p in PROCESSES)}")
