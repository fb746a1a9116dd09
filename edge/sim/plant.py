"""A simulated bottling plant with real protocol servers, behind cables: a PLC with several faces, cameras and a sensor.

The line camera sees each part, the tray camera the accumulation table behind the ejector each second; a sensor on the
filler's gearbox gives a snapshot of its vibration each second.

`python -m edge.sim.plant --modbus-port 0 --camera-port 0` prints one line of JSON with its ports once it is ready and
runs until SIGTERM or SIGINT. `edge.sim.control` asks for its state and breaks its cables.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast, get_args

import uvloop

from edge.sim.album import Album
from edge.sim.cable import FAULT_KINDS, Breakable, Cable
from edge.sim.cable import FaultKind as CableFaultKind
from edge.sim.camera import CameraServer, Feed
from edge.sim.control import State, serve_control
from edge.sim.controller import RtuController
from edge.sim.faces import FACE_FAULTS, Face, FaceFault, tcp_faces
from edge.sim.gearbox import SHAPE, Gearbox
from edge.sim.image import LineState
from edge.sim.ladder import Ladder
from edge.sim.line import Line
from edge.sim.optics import SIZE
from edge.sim.parts import PartStream
from edge.sim.plant_options import PlantOptions, parsed
from edge.sim.serial_cable import SerialCable
from edge.sim.signals import FaultKind as ProcessFaultKind
from edge.sim.tray import HIGH, WIDE, TrayStream
from edge.sim.vibration import GEAR_FAULTS

GLANCE_S = 1.0  # between two pictures of the table, and two snapshots of the gearbox
_AHEAD_TRAYS = 2
_SWITCH_S = 0.0005  # the drawing thread gives way this soon; Python's 5 ms would show in the triggers


class Plant:
    """Line, controller, camera and cables; enter it as a context manager inside a running loop."""

    def __init__(self, options: PlantOptions) -> None:
        """Build all parts; nothing moves yet."""
        self.options = options
        self.ports: dict[str, int] = {}
        self._began_s = time.monotonic()
        stream = PartStream(options.seed, options.defect_rate)
        self.state = LineState()
        self.ladder = Ladder(self._began_s, options.manual_rearm, options.cycle_ms / 1e3, options.handshake)
        self._tcp_faces = tcp_faces(options, self.ladder, self.state)
        self._rtu = RtuController(self.ladder, self.state) if options.rtu is not None else None
        self.gearbox = Gearbox(options.seed, self.state)
        self.trays = TrayStream(options.seed, options.defect_rate)
        self.albums = {
            "line": Album(lambda number: stream.image(number).tobytes()),
            "tray": Album(lambda number: self.trays.image(number).tobytes(), _AHEAD_TRAYS),
        }
        self.feeds = {
            "line": Feed(self.albums["line"].take, (SIZE, SIZE, 3), "uint8", self.albums["line"].want),
            "tray": Feed(self.albums["tray"].take, (HIGH, WIDE, 3), "uint8", self.albums["tray"].want),
            "gear": Feed(self.gearbox.snapshot, SHAPE, "float32"),
        }
        self.camera = CameraServer(self.feeds)
        self.line = Line(
            stream, self.ladder, self.state, self.feeds["line"].shoot, options.parts_per_s, options.travel_ms / 1e3
        )
        self._glances = 0
        self._cables = {name: Cable(options.seed + n) for n, name in enumerate(["camera", *self._tcp_names()])}
        self._serial = SerialCable(options.seed)
        self._mending: dict[str, asyncio.TimerHandle] = {}
        self._spoilt: dict[str, FaceFault] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Serve and run the line until `stop`; print the ports when ready."""
        await self._lay()
        control = await serve_control(self.options.control, self.answer) if self.options.control else None
        for album in self.albums.values():
            album.start()
        line, glances = asyncio.ensure_future(self.line.run()), asyncio.ensure_future(self._glance())
        print(
            json.dumps({f"{name}_port": port for name, port in self.ports.items()} | {"pid": os.getpid()}), flush=True
        )
        try:
            await _first_of(line, glances, asyncio.ensure_future(_set(stop)))
        finally:
            if control is not None:
                control.close()
            for cable in self.cables.values():
                cable.close()
            self.camera.close()
            for album in self.albums.values():
                album.close()
            for face in self.faces.values():
                await face.close()

    @property
    def faces(self) -> dict[str, Face | RtuController]:
        """The PLC's faces by name."""
        faces: list[Face | RtuController] = [face for face, _ in self._tcp_faces]
        return {face.name: face for face in (*faces, *([self._rtu] if self._rtu else []))}

    @property
    def cables(self) -> dict[str, Breakable]:
        """The cables to the faces and the cameras, by name."""
        return {**self._cables, **({"rtu": self._serial} if self._rtu else {})}

    def _tcp_names(self) -> list[str]:
        return [face.name for face, _ in self._tcp_faces]

    async def _lay(self) -> None:
        """Start all servers, each behind its cable."""
        host = self.options.host
        servers = [(face.name, await face.listen("127.0.0.1", 0), port) for face, port in self._tcp_faces]
        servers.append(("camera", await self.camera.listen("127.0.0.1", 0), self.options.camera_port))
        self.ports = {name: self._cables[name].lay(host, port, behind) for name, behind, port in servers}
        if self._rtu is not None and self.options.rtu is not None:
            await self._rtu.listen_on(self._serial.lay(self.options.rtu))

    async def _glance(self) -> None:
        """Trigger what does not wait for a part: the tray camera and the gearbox's sensor."""
        while True:
            await asyncio.sleep(GLANCE_S)
            self._glances += 1
            for name in ("tray", "gear"):
                self.feeds[name].shoot(self._glances, time.monotonic_ns())

    # -- control ------------------------------------------------------------------------------------------------------

    def answer(self, request: dict[str, object]) -> State:
        """Carry out one request of `edge.sim.control` and return the state.

        Raises:
            ValueError: the request is not understood; the message says what is.
        """
        match request.get("do"):
            case "state":
                pass
            case "fault":
                self._fault(request)
            case "disturb":
                self._disturb(request)
            case "rearm":
                self.ladder.press_reset(time.monotonic())
            case "passed":
                after = _number("after", request.get("after", 0), math.inf)
                return {"passed": [(part_id, at_s) for part_id, at_s in self.line.passed if part_id > after]}
            case "clear":
                self.line.disturb(None)
                self.gearbox.disturb(None)
                for cable in self.cables.values():
                    cable.clear()
                for name in self.faces:
                    self._spoil(name, None, 0.0)
            case other:
                raise ValueError(f"{other!r} is not one of state, passed, fault, disturb, rearm, clear")
        return self.report()

    def _fault(self, request: dict[str, object]) -> None:
        kind = _one_of("kind", request.get("kind"), (*FAULT_KINDS, *FACE_FAULTS))
        name, for_s = request.get("source", "modbus"), _number("for_s", request.get("for_s", 5.0))
        if kind in FACE_FAULTS:
            self._spoil(_one_of("source", name, tuple(self.faces)), cast(FaceFault, kind), for_s)
            return
        cable = self.cables[_one_of("source", name, tuple(self.cables))]
        cable.damage(cast(CableFaultKind, kind), for_s, _number("delay_s", request.get("delay_s", 0.2)))

    def _spoil(self, name: str, kind: FaceFault | None, for_s: float) -> None:
        """Spoil a face for some seconds, or mend it."""
        if name in self._mending:
            self._mending.pop(name).cancel()
        self.faces[name].spoil(kind)
        self._spoilt.pop(name, None)
        if kind is not None:
            self._spoilt[name] = kind
            self._mending[name] = asyncio.get_running_loop().call_later(for_s, self._spoil, name, None, 0.0)

    def _disturb(self, request: dict[str, object]) -> None:
        kind = _one_of("kind", request.get("kind"), (*get_args(ProcessFaultKind), *GEAR_FAULTS))
        severity = _number("severity", request.get("severity", 1.0))
        if kind in GEAR_FAULTS:
            self.gearbox.disturb(kind, severity)
        else:
            self.line.disturb(cast(ProcessFaultKind, kind), severity)

    def report(self) -> State:
        """Return all counters and what the plant is doing."""
        tally, counters = asdict(self.line.tally), asdict(self.ladder.counters)
        return {
            **tally,
            **counters,
            "undecided": self.line.tally.undecided_good + self.line.tally.undecided_bad,
            "failsafe": self.line.tally.failsafe_good + self.line.tally.failsafe_bad,
            "passes": self.line.passes,
            "armed": self.ladder.armed,
            "watchdog_tripped": self.ladder.watchdog_tripped,
            "safe_since_s": self.ladder.safe_since_s,
            "reject": self.ladder.reject,
            "heartbeat": self.ladder.heartbeat,
            "part_id": self.ladder.part_id,
            "modbus_requests": self.faces["modbus"].requests,
            "grabbers": sum(feed.grabbers for feed in self.feeds.values()),
            "pictures_sent": sum(feed.sent for feed in self.feeds.values()),
            "pictures_replaced": sum(feed.replaced for feed in self.feeds.values()),
            "pictures_drawn_late": sum(album.drawn_late for album in self.albums.values()),
            "glances": self._glances,
            "tray_good": self.trays.tray(self._glances).good,
            "gear": self.gearbox.condition,
            "gear_wear": round(self.gearbox.wear, 3),
            "max_behind_ms": round(self.line.max_behind_ms, 3),
            "uptime_s": round(time.monotonic() - self._began_s, 3),
            "faults": {name: cable.fault.kind for name, cable in self.cables.items() if cable.fault is not None}
            | self._spoilt,
            "ports": self.ports,
        }


def _one_of(what: str, value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{what} {value!r} is not one of {', '.join(allowed)}")
    return value


def _number(what: str, value: object, most: float = 86_400) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{what} {value!r} is not a number from 0 to {most:g}")
    return float(value)


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _first_of(*tasks: asyncio.Future[None]) -> None:
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        task.result()


async def _serve(options: PlantOptions) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await Plant(options).run(stop)


def run_plant(options: PlantOptions) -> int:
    """Run a plant in this interpreter until SIGTERM or SIGINT; return the exit status."""
    sys.setswitchinterval(_SWITCH_S)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(_serve(options))
    except OSError as error:
        print(f"the simulated plant can't start: {error}; {_remedy(options)}", file=sys.stderr)
        return 1
    finally:
        if options.control is not None:
            options.control.unlink(missing_ok=True)
    return 0


def _remedy(options: PlantOptions) -> str:
    wanted = f"{options.modbus_port} and {options.camera_port}"
    others = "--modbus-port and --camera-port take others, 0 any that is free"
    return f"its ports are {wanted}: does another plant run there? {others}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m edge.sim.plant`."""
    return run_plant(parsed(argv, "python -m edge.sim.plant"))


if __name__ == "__main__":
    sys.exit(main())
