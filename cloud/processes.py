"""The sister of `edge/processes.py`: what runs on a fleet server. `plantedge-fleet serve` starts it.

A reader of a topic here is a reader in `schemas/topics.py`; tests/cloud/test_processes.py holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas import topics as t
from schemas.topics import Role, Topic


@dataclass(frozen=True, kw_only=True)
class FleetProcess:
    """One process. `folder` is its part of the fleet's home; it has to end within `stop_s`."""

    name: str
    runs: str
    folder: str
    role: Role | None = None
    subscribes: tuple[Topic, ...] = ()
    publishes: tuple[Topic, ...] = ()
    stop_s: float = 1.0


BROKER = FleetProcess(name="broker", runs="mosquitto", folder="broker")
SERVICE = FleetProcess(
    name="service", runs="cloud.service", folder=".", role=Role.FLEET,
    subscribes=(t.UP_HEALTH, t.UP_MODELS, t.UP_ALERT, t.UP_REPORT, t.UP_LEDGER),
    publishes=(t.DOWN_CONFIG, t.DOWN_REQUEST),
)  # fmt: skip

PROCESSES: tuple[FleetProcess, ...] = (BROKER, SERVICE)
