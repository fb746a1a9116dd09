"""The nodes of one VisionSystem and what they show: the newest values, written once per tick."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures carry no types there)

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.address_space.device import Space, moment
from edge.opcua_server.address_space.nodes import COMPONENT, ORGANIZES, PROPERTY, PROPERTY_TYPE, Ids, New, standard
from edge.opcua_server.vision.companion import Companion
from edge.opcua_server.vision.results import Record, fields_of, recipe_id
from edge.opcua_server.vision.structures import type_id, variant
from edge.opcua_server.vision.table import (
    AUTOMATIC,
    OBJECT_TYPES,
    RECIPE,
    RECIPE_FOLDER,
    RECIPE_MANAGEMENT,
    RESULT_FOLDER,
    RESULT_MANAGEMENT,
    RESULT_PARTS,
    RESULT_TYPE,
    STATE_MACHINE,
    VISION_SYSTEM,
    Member,
    Stage,
    Transition,
)

T = ua.VariantType
FOLDER: Final = "VisionSystems"
SHOWN: Final = 8  # results below Results: of each pipeline the newest
MACHINES: Final = {STATE_MACHINE: "VisionStateMachine", AUTOMATIC: "VisionStateMachine/AutomaticModeStateMachine"}
_SHOWN_PARTS: Final = tuple(one for one in RESULT_PARTS if not one.optional or one.name == "PartId")
_WHOLE: Final = Member("Result", "ResultDataType")
_STAGES: Final = {one.name: one for kind in OBJECT_TYPES.values() for one in kind.stages}


class Instance:
    """One VisionSystem in the address space."""

    def __init__(
        self, space: Space, companion: Companion, index: int, pipeline: str, recipes: Sequence[str], *, simulated: bool
    ) -> None:
        """Add its nodes. `index`: of the standard's namespace; `recipes`: as the PLC's tag names them."""
        self._space, self._companion, self._index = space, companion, index
        self.pipeline, self._simulated = pipeline, simulated
        self.path = f"{FOLDER}/{pipeline}"
        self._pending: dict[ua.NodeId, ua.DataValue] = {}
        self._results: dict[int, Record] = {}  # by the number of the node that shows it
        self._seen = 0
        own = ua.QualifiedName(pipeline, ua.UInt16(space.index))
        self.node = self._object("", VISION_SYSTEM, space.folder(FOLDER), own, ORGANIZES)
        for machine in MACHINES:
            self._machine(machine)
        self._component("ResultManagement", RESULT_MANAGEMENT)
        self._component("ResultManagement/Results", RESULT_FOLDER)
        for number in range(SHOWN):
            self._result(number)
        if recipes:
            self._component("RecipeManagement", RECIPE_MANAGEMENT)
            self._component("RecipeManagement/Recipes", RECIPE_FOLDER)
        for recipe in recipes:
            self._recipe(recipe)

    def at(self, path: str) -> ua.NodeId:
        """Return the node at a path below the system."""
        return self._space.node(f"{self.path}/{path}" if path else self.path)

    def identifier(self, path: str) -> str:
        """Return the identifier of that node."""
        return self._space.identifier(f"{self.path}/{path}" if path else self.path)

    # -- building -----------------------------------------------------------------------------------------------------

    def _component(self, path: str, kind: str) -> ua.NodeId:
        above, _, name = path.rpartition("/")
        return self._object(path, kind, self.at(above), self._companion.name(name), COMPONENT)

    def _object(
        self, path: str, kind: str, parent: ua.NodeId, name: ua.QualifiedName, reference: ua.NodeId
    ) -> ua.NodeId:
        nodes = self._space.nodes
        made = nodes.object(New(self.at(path), name, parent, reference, self._companion.type(kind)))
        of = OBJECT_TYPES[kind]
        for shared in (*(one.id for one in of.methods), *(one.id for one in of.stages)):  # the type's own nodes
            nodes.refer(made, COMPONENT, self._companion.id(shared))
        return made

    def _variable(
        self, path: str, name: ua.QualifiedName, reference: ua.NodeId, kind: ua.NodeId, of: ua.NodeId
    ) -> None:
        above = path.rpartition("/")[0]
        waiting = ua.DataValue(ua.Variant(), StatusCode=_status(StatusCodes.BadWaitingForInitialData))
        self._space.nodes.variable(New(self.at(path), name, self.at(above), reference, kind), waiting, of)

    def _machine(self, machine: str) -> None:
        path = MACHINES[machine]
        self._component(path, machine)
        for name, kind in (("CurrentState", Ids.FiniteStateVariableType),
                           ("LastTransition", Ids.FiniteTransitionVariableType)):  # fmt: skip
            self._variable(f"{path}/{name}", _own(name), COMPONENT, standard(kind), standard(Ids.LocalizedText))
            self._variable(f"{path}/{name}/Id", _own("Id"), PROPERTY, PROPERTY_TYPE, standard(Ids.NodeId))
            self._variable(f"{path}/{name}/Number", _own("Number"), PROPERTY, PROPERTY_TYPE, standard(Ids.UInt32))
        moved = f"{path}/LastTransition/TransitionTime"
        self._variable(moved, _own("TransitionTime"), PROPERTY, PROPERTY_TYPE, standard(Ids.UtcTime))

    def _result(self, number: int) -> None:
        path, name = _slot(number), ua.QualifiedName(f"Result{number + 1}", ua.UInt16(self._space.index))
        whole = type_id("ResultDataType", self._index)
        self._variable(path, name, COMPONENT, self._companion.type(RESULT_TYPE), whole)
        for part in _SHOWN_PARTS:
            self._variable(
                f"{path}/{part.name}", self._companion.name(part.name), COMPONENT,
                standard(Ids.BaseDataVariableType), type_id(part.type, self._index),
            )  # fmt: skip

    def _recipe(self, recipe: str) -> None:
        path = recipe_path(recipe)
        name = ua.QualifiedName(recipe, ua.UInt16(self._space.index))
        self._object(path, RECIPE, self.at("RecipeManagement/Recipes"), name, COMPONENT)
        for part in OBJECT_TYPES[RECIPE].parts:
            self._variable(
                f"{path}/{part.name}", self._companion.name(part.name), PROPERTY, PROPERTY_TYPE,
                type_id(part.type, self._index),
            )  # fmt: skip

    # -- what is shown ------------------------------------------------------------------------------------------------

    def show_stage(self, machine: str, stage: str, time_ns: int) -> None:
        """Show the state of a machine, "" for one that is not active (OPC 10000-16, 4.4.2)."""
        path, one = f"{MACHINES[machine]}/CurrentState", _STAGES.get(stage)
        self._show_named(path, one, time_ns, StatusCodes.Good if one else StatusCodes.BadStateNotActive)

    def show_transition(self, machine: str, transition: Transition, time_ns: int) -> None:
        """Show what a machine did last."""
        path = f"{MACHINES[machine]}/LastTransition"
        self._show_named(path, transition, time_ns, StatusCodes.Good)
        self._show(f"{path}/TransitionTime", ua.Variant(moment(time_ns), T.DateTime), time_ns)

    def _show_named(self, path: str, one: Stage | Transition | None, time_ns: int, code: int) -> None:
        held = (
            (path, None if one is None else ua.Variant(ua.LocalizedText(one.name), T.LocalizedText)),
            (f"{path}/Id", None if one is None else ua.Variant(self._companion.id(one.id), T.NodeId)),
            (f"{path}/Number", None if one is None else ua.Variant(one.number, T.UInt32)),
        )
        for where, value in held:
            self._show(where, value or ua.Variant(), time_ns, code)

    def show_result(self, record: Record) -> None:
        """Show a result in place of the oldest."""
        self._results[self._seen % SHOWN] = record
        self._seen += 1

    def show_recipe(self, recipe: str, *, prepared: bool, modified_ns: int, time_ns: int) -> None:
        """Show a recipe and whether it is the one that the next part runs under."""
        held = {
            "ExternalId": {"Id": recipe}, "InternalId": {"Id": recipe_id(self.pipeline, recipe)},
            "IsPrepared": prepared, "LastModified": moment(modified_ns),
        }  # fmt: skip
        for part in OBJECT_TYPES[RECIPE].parts:
            value = variant(Member(part.name, part.type), held[part.name], self._index)
            self._show(f"{recipe_path(recipe)}/{part.name}", value, time_ns)

    def _show(self, path: str, value: ua.Variant, time_ns: int, code: int = StatusCodes.Good) -> None:
        self._pending[self.at(path)] = ua.DataValue(value, StatusCode=_status(code), SourceTimestamp=moment(time_ns))

    async def write_pending(self) -> None:
        """Write what has changed."""
        results, self._results = self._results, {}
        for number, record in results.items():
            held = fields_of(record, simulated=self._simulated)
            self._show(_slot(number), variant(_WHOLE, held, self._index), record.time_ns)
            for part in _SHOWN_PARTS:
                value = variant(Member(part.name, part.type), held.get(part.name), self._index)
                self._show(f"{_slot(number)}/{part.name}", value, record.time_ns)
        pending, self._pending = self._pending, {}
        for node, shown in pending.items():
            await self._space.nodes.write(node, shown)


def recipe_path(recipe: str) -> str:
    """Return where a recipe stands below its system."""
    return f"RecipeManagement/Recipes/{recipe}"


def _slot(number: int) -> str:
    return f"ResultManagement/Results/Result{number + 1}"


def _own(name: str) -> ua.QualifiedName:
    return ua.QualifiedName(name, ua.UInt16(0))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
