"""Whether a device really works: each proof asks at another end for what went in at the camera.

A result on the bus, in the OPC UA server, in the historian; the decision in the PLC's coil; the device's health in the
fleet service. `prove` runs all at once and ends when the last one holds.
"""

from __future__ import annotations

import asyncio
import http.client
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from edge.history.query import count
from edge.line.demo import control_socket
from edge.line.ground import Ground
from edge.line.report import monitor_url
from edge.line.tally import Tally
from edge.line.timeline import Timeline
from edge.sim.control import read_state
from edge.supervision import spawn
from edge.supervision.spawn import python
from schemas.errors import StartError

ASK_S = 0.1
ASK_TIMEOUT_S = 2.0
DECIDED = ("correct_rejects", "missed_rejects", "false_rejects", "correct_passes")


@dataclass(frozen=True)
class Proof:
    """One thing that must be seen before a device counts as ready; `missing` says what is wrong while it is not."""

    stage: str
    text: str
    missing: str
    seen: Callable[[], Awaitable[bool]]


def proofs(ground: Ground, tally: Tally) -> list[Proof]:
    """Return what must be seen of this device."""

    async def on_bus() -> bool:
        return tally.results > 0

    before = count(ground.home, "result")  # of earlier runs

    async def stored() -> bool:
        return await asyncio.to_thread(count, ground.home, "result") > before

    if not ground.settings.pipelines:
        return []
    found = [
        Proof("bus", "an inference result on the bus", "no inference result came over the bus", on_bus),
        Proof("historian", "the result in the historian", "the historian has stored no result", stored),
    ]
    if ground.settings.opcua.anonymous and ground.settings.opcua.any_client:
        probe = OpcUaProof(ground)
        found.append(Proof("opcua", "the result in OPC UA", "the OPC UA server shows no result", probe.seen))
    found.append(
        Proof("monitor", "ready, says /v2/health/ready", "the device does not call itself ready", _says(ground))
    )
    if ground.influx:
        seen = ground.influx.has_result
        found.append(Proof("influx", "the result in InfluxDB", "InfluxDB holds no result", seen))
    if ground.demo:
        found.append(Proof("plant", "the decision in the PLC", "no decision reached the PLC", _latched(ground.work)))
    if ground.fleet:
        found.append(
            Proof("fleet", "the device's health in the fleet service", "the fleet has no health", _heard(ground))
        )
    return found


def _says(ground: Ground) -> Callable[[], Awaitable[bool]]:
    """What a load balancer would see: the monitor answers 200 only while data flows."""
    where = urllib.parse.urlsplit(monitor_url(ground.settings))

    def ask() -> bool:
        link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=ASK_TIMEOUT_S)
        try:
            link.request("GET", "/v2/health/ready")
            return link.getresponse().status == 200  # 503 while it is not
        except (OSError, http.client.HTTPException):  # it does not listen yet
            return False
        finally:
            link.close()

    async def seen() -> bool:
        return await asyncio.to_thread(ask)

    return seen


def _latched(work: Path) -> Callable[[], Awaitable[bool]]:
    async def seen() -> bool:
        try:
            state = await asyncio.to_thread(read_state, control_socket(work))
        except StartError:
            return False
        return any(state.get(name) for name in DECIDED)

    return seen


def _heard(ground: Ground) -> Callable[[], Awaitable[bool]]:
    async def seen() -> bool:
        return ground.fleet is not None and await ground.fleet.heard_of(ground.settings.device.node) is not None

    return seen


class OpcUaProof:
    """A client in a process of its own, started with the server; it ends when it has read a result."""

    def __init__(self, ground: Ground) -> None:
        """Ask for the pipeline whose results come first: one with outputs."""
        settings = ground.settings
        pipeline = min(settings.pipelines, key=lambda name: (name not in settings.outputs, name))
        place = settings.place
        self._ground = ground
        self._path = f"{place.site}/{place.line}/{place.node}/Pipelines/{pipeline}/ResultId"
        self._process: asyncio.subprocess.Process | None = None

    async def seen(self) -> bool:
        """Return whether the client has read a Good value."""
        if self._process is None:
            folder = str(self._ground.work / "run" / "opcua-probe")
            argv = python(
                "edge.opcua_server.probe", self._ground.settings.opcua.endpoint, self._path, "--folder", folder
            )
            log = self._ground.work / "log" / "opcua-probe.log"
            self._process = await spawn.spawn(argv, log=log, run=self._ground.work, env={})
        code = self._process.returncode
        if code:
            self._process = None  # it gave up; the next one may be luckier
        return code == 0


async def prove(wanted: list[Proof], timeline: Timeline, timeout_s: float) -> list[Proof]:
    """Ask until everything was seen or the time is up; return what was not."""
    pending = {proof.stage: proof for proof in wanted}

    async def ask(proof: Proof) -> None:
        while True:
            if await proof.seen():
                break
            await asyncio.sleep(ASK_S)
        del pending[proof.stage]
        timeline.mark(proof.stage, proof.text)

    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*(ask(proof) for proof in wanted))
    except TimeoutError:
        pass
    return list(pending.values())
