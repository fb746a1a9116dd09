"""In which state of the standard's machines a pipeline is (OPC 40100-1, 8.2 and 8.3). Pure.

The device alone moves them: a line is not started or stopped from here, so each transition is an automatic one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from edge.opcua_server.vision.table import AUTOMATIC, OBJECT_TYPES, STATE_MACHINE, Transition
from edge.process import CONNECTION_LOST
from schemas.messages import Slot, State, Status

PREOPERATIONAL: Final = "Preoperational"
HALTED: Final = "Halted"
ERROR: Final = "Error"
OPERATIONAL: Final = "Operational"
INITIALIZED: Final = "Initialized"
READY: Final = "Ready"
RUNNING: Final = "ContinuousExecution"


@dataclass(frozen=True)
class Stand:
    """Where a pipeline stands: the state, that of the automatic mode ("" where it is not active), and why."""

    state: str = PREOPERATIONAL
    mode: str = ""
    why: str = ""


@dataclass(frozen=True)
class Known:
    """What is known of a pipeline. `recipe`: whether there is one for the PLC's tag, or none is needed."""

    pipeline: str
    models: Collection[str]
    camera: Status | None
    runtime: Status | None
    slots: Mapping[str, Slot]
    recipe: bool


def stand(known: Known) -> Stand:
    """Return where a pipeline stands.

    Halted: its camera or its runtime was stopped. Error: one of them has gone or says that it can't work, or a model
    was rejected and none serves in its place. Preoperational: not all is there yet. Operational is all else:
    Initialized while no recipe holds, Ready while no pictures come, ContinuousExecution while they do.
    """
    processes = [one for one in (known.camera, known.runtime) if one is not None]
    for one in processes:
        if one.state is State.STOPPED and one.reason != CONNECTION_LOST:
            return Stand(HALTED, "", f"{one.process} has stopped: {one.reason}".rstrip(": "))
    trouble = next(filter(None, (_trouble(one, known.pipeline) for one in processes)), "") or _rejected(known)
    if trouble:
        return Stand(ERROR, "", trouble)
    waiting = _waiting(known)
    if waiting:
        return Stand(PREOPERATIONAL, "", waiting)
    if not known.recipe:
        return Stand(OPERATIONAL, INITIALIZED, "no recipe for the PLC's tag")
    running = known.camera is not None and known.camera.state is State.ACTIVE
    return Stand(OPERATIONAL, RUNNING if running else READY, "pictures come" if running else "no pictures come")


def _trouble(status: Status, pipeline: str) -> str:
    """Return what a process can't do, "" where it works; a runtime's trouble with other pipelines is none."""
    if status.state is State.STOPPED:
        return f"{status.process} has gone: {status.reason}"
    others = status.process.startswith("runtime") and f"{pipeline}: " not in status.reason
    return f"{status.process}: {status.reason}" if status.state is State.DEGRADED and not others else ""


def _rejected(known: Known) -> str:
    for model in known.models:
        slot = known.slots.get(model)
        if slot is not None and slot.phase == "rejected" and not slot.serving:
            return f"{model}: {slot.reason}"
    return ""


def _waiting(known: Known) -> str:
    for name, status in (("camera", known.camera), ("runtime", known.runtime)):
        if status is None or status.state is State.STARTING:
            return f"the {name} starts"
    missing = [model for model in known.models if model not in known.slots or not known.slots[model].serving]
    return f"{', '.join(missing)}: not yet loaded" if missing else ""


@cache
def way(machine: str, source: str, target: str) -> tuple[Transition, ...]:
    """Return the automatic transitions of a machine from one of its states to another, as few as there can be."""
    steps = [one for one in OBJECT_TYPES[machine].transitions if one.name.endswith("Auto")]
    ways: dict[str, tuple[Transition, ...]] = {source: ()}
    ahead = [source]
    for at in ahead:
        for one in steps:
            if one.source == at and one.target not in ways:
                ways[one.target] = (*ways[at], one)
                ahead.append(one.target)
    return ways[target]


def steps(before: Stand, after: Stand) -> list[tuple[str, Transition]]:
    """Return what happens between two states, as machines and their transitions.

    The automatic mode begins anew in Initialized whenever the machine above comes to Operational.
    """
    found = [(STATE_MACHINE, one) for one in way(STATE_MACHINE, before.state, after.state)]
    if after.mode:
        begun = before.mode if before.mode and not found else INITIALIZED
        found += [(AUTOMATIC, one) for one in way(AUTOMATIC, begun, after.mode)]
    return found
