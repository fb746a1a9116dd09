"""What the bus tells of the pipelines that cameras feed, as results, states and events of their VisionSystems."""

from __future__ import annotations

import time
from collections.abc import Mapping

from edge.history.query import History
from edge.opcua_server.events.conditions import Tell
from edge.opcua_server.events.happenings import Happening
from edge.opcua_server.vision.archive import Archive
from edge.opcua_server.vision.pipelines import Pipeline
from edge.opcua_server.vision.results import live
from edge.opcua_server.vision.states import Known, stand
from edge.opcua_server.vision.system import VisionSystem
from edge.processes import CAMERA, RUNTIME
from schemas.messages import Reading, Result, Slot, Status


class VisionFeed:
    """What the bus tells of them."""

    def __init__(self, systems: Mapping[str, VisionSystem], history: History, tell: Tell) -> None:
        """Have heard nothing yet."""
        self._systems, self._tell = systems, tell
        self.archives = {name: Archive(history, name) for name in systems}
        self._statuses: dict[str, Status] = {}
        self._slots: dict[tuple[str, str], Slot] = {}  # by runtime and model

    def result(self, result: Result) -> None:
        """Take a result: remember it, show it, tell it."""
        system = self._systems.get(result.pipeline)
        if system is not None:
            record = live(result)
            self.archives[result.pipeline].add(record)
            system.instance.show_result(record)
            self._tell(system.tellers, lambda: system.ready(record))

    def reading(self, reading: Reading) -> None:
        """Take a reading: perhaps another recipe."""
        for system in self._systems.values():
            sample = reading.tags.get(system.pipeline.tag) if system.pipeline.source == reading.source else None
            if sample is not None and system.take_tag(sample.value, sample.quality, reading.time_ns):
                if system.recipe is not None:
                    self._say(system, system.prepared(reading.time_ns))
                self._look(system)

    def status(self, status: Status) -> None:
        """Take a process's state."""
        self._statuses[status.process] = status
        for system in self._systems.values():
            if status.process in (_camera(system.pipeline), RUNTIME.identity(system.pipeline.lane)):
                self._look(system)

    def slot(self, slot: Slot) -> None:
        """Take the state of a model's slot."""
        self._slots[slot.process, slot.model] = slot
        for system in self._systems.values():
            if slot.model in system.pipeline.models:
                self._look(system)

    def _look(self, system: VisionSystem) -> None:
        one = system.pipeline
        runtime = RUNTIME.identity(one.lane)
        found = stand(Known(
            one.name, one.models, self._statuses.get(_camera(one)), self._statuses.get(runtime),
            {model: slot for (process, model), slot in self._slots.items() if process == runtime},
            one.otherwise or system.recipe is not None,
        ))  # fmt: skip
        if found != system.stand:
            for happening in system.move(found, time.time_ns()):
                self._say(system, happening)

    def _say(self, system: VisionSystem, happening: Happening) -> None:
        self._tell(system.tellers, lambda: happening)

    async def write_pending(self) -> None:
        """Show what has changed."""
        for system in self._systems.values():
            await system.instance.write_pending()


def _camera(pipeline: Pipeline) -> str:
    return CAMERA.identity(pipeline.camera)
