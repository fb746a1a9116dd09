"""VisionSystems: where each stands, which recipe holds, and the events that it tells."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Final

from asyncua import ua

from edge.history.query import Row
from edge.inference.recipe_key import key_of
from edge.opcua_server.address_space.device import Space
from edge.opcua_server.address_space.nodes import numeric
from edge.opcua_server.events.happenings import SERVER, Happening, Source, base_fields
from edge.opcua_server.vision.companion import Companion
from edge.opcua_server.vision.instance import MACHINES, Instance
from edge.opcua_server.vision.pipelines import Pipeline
from edge.opcua_server.vision.results import Record, recipe_id, result_ready, stored
from edge.opcua_server.vision.states import Stand, steps
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
from schemas.fields import Value
from schemas.messages import Quality

T = ua.VariantType
_SEVERITY: Final = 100
_STAGE_IDS: Final = {one.name: one.id for kind in OBJECT_TYPES.values() for one in kind.stages}


class VisionSystem:
    """That of one pipeline."""

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
        if done:  # or it is another reason for the same
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
