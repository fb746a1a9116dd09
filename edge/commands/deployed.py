"""What runs of a device that systemd supervises: the retained states of its processes, at its own broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from bus import Delivery
from bus.codec import decode
from edge.line.plan import wanted
from edge.line.tally import open_bus
from edge.settings import Settings, load_settings
from schemas.errors import CodecError, StartError
from schemas.messages import State, Status
from schemas.topics import STATUS

CONNECT_S = 3.0
RETAINED_S = 0.5  # MQTT does not say when the last retained message has been sent
WELL = (State.ACTIVE, State.IDLE)


def read_deployed(home: Path) -> dict[str, Status] | None:
    """Return process -> its last words, None for a device without a broker of its own (`broker.credentials`).

    Raises:
        PlantEdgeError: the settings can't be used, or its broker can't be asked; with the reason.
    """
    settings = load_settings(home)
    if not settings.broker.credentials:
        return None
    try:
        return asyncio.run(_read(settings, home))
    except TimeoutError:
        where = settings.broker.socket or f"{settings.broker.host}:{settings.broker.port}"
        raise StartError(
            f"the device's broker at {where} does not answer; see `systemctl status plantedge-broker`"
        ) from None


async def _read(settings: Settings, home: Path) -> dict[str, Status]:
    found: dict[str, Status] = {}

    def take(delivery: Delivery) -> None:
        try:
            status = decode(STATUS, Status, delivery.payload)
        except CodecError:
            return
        found[status.process] = status

    async with asyncio.timeout(CONNECT_S), open_bus(settings, home) as bus:
        await bus.subscribe(STATUS.filter(settings.place), 1, take)
        await asyncio.sleep(RETAINED_S)
    return found


def expected(home: Path) -> list[str]:
    """Return the processes that the settings ask for, as they call themselves."""
    return [row.identity(instance) for row, instance in wanted(load_settings(home))]


def silence_s(status: Status) -> float:
    """Return for how long a process has said nothing, by the wall clock."""
    return max(0.0, time.time() - status.time_ns / 1e9)


def trouble(name: str, statuses: Mapping[str, Status]) -> str:
    """Return what is not well with a process, "" if nothing is."""
    status = statuses.get(name)
    if status is None:
        return "has never spoken"
    if status.state not in WELL:
        return f"{status.state} {status.reason}".rstrip()
    silent = silence_s(status)
    return f"silent for {silent:.0f} s" if silent > STATUS.stale_after_s else ""
