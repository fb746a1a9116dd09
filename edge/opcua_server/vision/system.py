"""VisionSystems in life: what the bus tells of the pipelines that cameras feed, as states, events and results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncua import ua

from edge.config.pipeline import FrameInput
from edge.history.query import History, Row
from edge.inference.recipe_key import key_of
from edge.opcua_server.conditions import Tell
from edge.opcua_server.happenings import SERVER, Happening, Source, base_fields
from edge.opcua_server.nodes import numeric
from edge.opcua_server.space import Space
from edge.opcua_server.vision.archive import Archive
from edge.opcua_server.vision.companion import Companion
from edge.opcua_server.vision.instance import MACHINES, Instance
from edge.opcua_server.vision.results import Record, live, recipe_id, result_ready, stored
from edge.opcua_server.vision.states import Known, Stand, stand, steps
from edge.opcua_server.vision.structures import variant
from edge.opcua_server.vision.table import (
    AUTOMATIC,
    EVENT_TYPES,
    OBJECT_TYPES,
    RECIPE_PREPARED,
    STATE_CHANGED,
    STATE_MACHINE,
    Member,
    Transition,
)
from edge.processes import CAMERA, RUNTIME
from edge.settings import Settings
from schemas.messages import Quality, Reading, Result, Slot, Status, Value

T = ua.VariantType
SIMULATED: Final = frozenset({"plant", "folder"})  # cameras that show no line
_SEVERITY: Final = 100
_STAGE_IDS: Final = {one.name: one.id for kind in OBJECT_TYPES.values() for one in kind.stages}


@dataclass(frozen=True)
class Pipeline:
    """What the settings say of a pipeline that a camera feeds. `otherwise`: it runs without a recipe, too."""

    name: str
    camera: str  # of [cameras], "" for none
    simulated: bool
    lane: str
    models: tuple[str, ...]
    recipes: tuple[str, ...]
    source: str  # of the recipe's tag
    tag: str
    otherwise: bool
    max_age_ms: float  # for so long its last Good value holds
    modified_ns: int


def pipelines_of(settings: Settings, home: Path) -> list[Pipeline]:
    """Return those pipelines that a camera feeds."""
    found: list[Pipeline] = []
    for name, one in sorted(settings.pipelines.items()):
        if not isinstance(one.input, FrameInput):
            continue
        stream = one.input.frames
        camera = next((key for key, held in settings.cameras.items() if (held.stream or key) == stream), "")
        simulated = camera != "" and settings.cameras[camera].driver in SIMULATED
        recipe = one.recipe
        found.append(Pipeline(
            name, camera, simulated, one.lane, tuple(one.models), tuple(one.choices), recipe.source if recipe else "",
            recipe.tag if recipe else "", recipe is None or recipe.otherwise == "default",
            recipe.max_age_ms if recipe else 0.0, _modified_ns(home / "pipelines" / f"{name}.toml"),
        ))  # fmt: skip
    return found


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return time.time_ns()  # pipelines may stand in device.toml


class VisionSystem:
    """One of them."""

    def __init__(self, pipeline: Pipeline, instance: Instance, index: int, above: Iterable[ua.NodeId]) -> None:
        """Show where it stands before anything is heard. `above`: who tells its events as well."""
        self.pipeline, self.instance, self._index = pipeline, instance, index
        self.source = Source(instance.node, pipeline.name)
        self.tellers = (instance.node, *above)
        self.recipe: str | None = None  # that the PLC's tag asks for, None while it says nothing of use
        self._good_ns = 0
        self.stand = Stand()
        now_ns = time.time_ns()
        instance.show_stage(STATE_MACHINE, self.stand.state, now_ns)
        instance.show_stage(AUTOMATIC, self.stand.mode, now_ns)
        self.show_recipes(now_ns)

    def show_recipes(self, time_ns: int) -> None:
        """Show the recipes, and which of them is prepared."""
        for one in self.pipeline.recipes:
            self.instance.show_recipe(
                one, prepared=one == self.recipe, modified_ns=self.pipeline.modified_ns, time_ns=time_ns
            )

    def take_tag(self, value: Value, quality: Quality, time_ns: int) -> bool:
        """Take a value of the recipe's tag; whether another recipe holds now."""
        if quality is Quality.GOOD:
            self._good_ns = time_ns
            asked = key_of(value) if key_of(value) in self.pipeline.recipes else None
        else:  # the runtime holds the last Good value, too
            asked = self.recipe if time_ns - self._good_ns <= self.pipeline.max_age_ms * 1e6 else None
        if asked == self.recipe:
            return False
        self.recipe = asked
        self.show_recipes(time_ns)
        return True

    def move(self, after: Stand, time_ns: int) -> list[Happening]:
        """Go over to another state; return what there is to be told of it."""
        before, self.stand = self.stand, after
        done = steps(before, after)
        for machine, transition in done:
            self.instance.show_transition(machine, transition, time_ns)
        self.instance.show_stage(STATE_MACHINE, after.state, time_ns)
        self.instance.show_stage(AUTOMATIC, after.mode, time_ns)
        return [self._changed(machine, one, after.why, time_ns) for machine, one in done]

    def _changed(self, machine: str, transition: Transition, why: str, time_ns: int) -> Happening:
        """Return the event of a transition (OPC 10000-16, 4.6.2)."""
        kind = numeric(EVENT_TYPES[STATE_CHANGED].id, self._index)
        where = Source(self.instance.at(MACHINES[machine]), self.pipeline.name)
        text = f"{self.pipeline.name}: {transition.target}, {why}"[:1000]
        found = base_fields(kind, secrets.token_bytes(16), where, time_ns, text, _SEVERITY)
        named = (
            ("Transition", transition.name, transition.id),
            ("FromState", transition.source, _STAGE_IDS[transition.source]),
            ("ToState", transition.target, _STAGE_IDS[transition.target]),
        )  # fmt: skip
        for name, said, number in named:
            found[name] = ua.Variant(ua.LocalizedText(said), T.LocalizedText)
            found[f"{name}/Id"] = ua.Variant(numeric(number, self._index), T.NodeId)
        return Happening(kind, found)

    def prepared(self, time_ns: int) -> Happening:
        """Return the event that tells of the recipe which holds now (8.3.8.1)."""
        kind, recipe = numeric(EVENT_TYPES[RECIPE_PREPARED].id, self._index), self.recipe or ""
        text = f"{self.pipeline.name}: recipe {recipe} holds"
        own = {
            "ExternalId": variant(Member("", "RecipeIdExternalDataType"), {"Id": recipe}, self._index),
            "InternalId": variant(
                Member("", "RecipeIdInternalDataType"), {"Id": recipe_id(self.pipeline.name, recipe)}, self._index
            ),
        }
        return Happening(kind, base_fields(kind, secrets.token_bytes(16), self.source, time_ns, text, _SEVERITY) | own)

    def ready(self, record: Record) -> Happening:
        """Return the event of a result."""
        return result_ready(record, self.source, self._index, simulated=self.pipeline.simulated)

    def stored_ready(self, row: Row) -> Happening:
        """Return the event of a result that the historian has kept."""
        return self.ready(stored(row))


class VisionSystems:
    """All of a device's."""

    def __init__(self, space: Space, index: int, pipelines: Iterable[Pipeline], above: Iterable[ua.NodeId]) -> None:
        """Put them into the address space. `index`: of the standard's namespace."""
        self.index = index
        companion = Companion(space.nodes, index)
        tellers = (*above, SERVER.node)
        self.systems: dict[str, VisionSystem] = {}
        for one in pipelines:
            instance = Instance(space, companion, index, one.name, one.recipes, simulated=one.simulated)
            self.systems[one.name] = VisionSystem(one, instance, index, tellers)


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
