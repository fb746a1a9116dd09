"""In which state a pipeline is by what is known of it, and by which transitions it comes there."""

import itertools
from typing import Any

import pytest

from edge.opcua_server.vision.states import (
    ERROR,
    HALTED,
    INITIALIZED,
    OPERATIONAL,
    PREOPERATIONAL,
    READY,
    RUNNING,
    Known,
    Stand,
    stand,
    steps,
    way,
)
from edge.opcua_server.vision.table import STATE_MACHINE
from edge.process import CONNECTION_LOST
from schemas.messages import Slot, State, Status


def said(process: str, state: State, reason: str = "") -> Status:
    return Status(process=process, state=state, reason=reason)


def slot(model: str = "caps", serving: str = "3", phase: str = "active", reason: str = "") -> Slot:
    return Slot(model=model, version="3", digest="", phase=phase, reason=reason, serving=serving)


CAMERA, RUNTIME = said("camera-cam1", State.ACTIVE), said("runtime-safety", State.ACTIVE)


def known(**changed: Any) -> Known:
    found: dict[str, Any] = {
        "pipeline": "caps", "models": ("caps", "finder"), "camera": CAMERA, "runtime": RUNTIME,
        "slots": {"caps": slot(), "finder": slot("finder")}, "recipe": True,
    }  # fmt: skip
    return Known(**(found | changed))


def slots(caps: Slot) -> dict[str, Slot]:
    return {"caps": caps, "finder": slot("finder")}


CAMERA_IS, RUNTIME_IS = "camera-cam1", "runtime-safety"
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({}, OPERATIONAL, RUNNING),
    ({"camera": said(CAMERA_IS, State.IDLE, "no picture for 2 s")}, OPERATIONAL, READY),
    ({"runtime": said(RUNTIME_IS, State.IDLE)}, OPERATIONAL, RUNNING),
    ({"recipe": False}, OPERATIONAL, INITIALIZED),
    ({"camera": None}, PREOPERATIONAL, ""),
    ({"runtime": None}, PREOPERATIONAL, ""),
    ({"camera": said(CAMERA_IS, State.STARTING)}, PREOPERATIONAL, ""),
    ({"slots": {}}, PREOPERATIONAL, ""),
    ({"slots": {"caps": slot()}}, PREOPERATIONAL, ""),
    ({"slots": slots(slot(serving="", phase="loading"))}, PREOPERATIONAL, ""),
    ({"slots": slots(slot(phase="loading"))}, OPERATIONAL, RUNNING),  # the one before serves meanwhile
    ({"slots": slots(slot(phase="rejected", reason="golden"))}, OPERATIONAL, RUNNING),
    ({"slots": slots(slot(serving="", phase="rejected", reason="golden"))}, ERROR, ""),
    ({"camera": said(CAMERA_IS, State.DEGRADED, "no answer")}, ERROR, ""),
    ({"camera": said(CAMERA_IS, State.STOPPED, CONNECTION_LOST)}, ERROR, ""),
    ({"runtime": said(RUNTIME_IS, State.STOPPED, CONNECTION_LOST)}, ERROR, ""),
    ({"runtime": said(RUNTIME_IS, State.DEGRADED, "caps: self-test failed")}, ERROR, ""),
    ({"runtime": said(RUNTIME_IS, State.DEGRADED, "trays: self-test failed")}, OPERATIONAL, RUNNING),
    ({"camera": said(CAMERA_IS, State.STOPPED, "ended")}, HALTED, ""),
    ({"runtime": said(RUNTIME_IS, State.STOPPED), "camera": None}, HALTED, ""),
]


@pytest.mark.parametrize(("changed", "state", "mode"), CASES)
def test_a_pipeline_is_where_what_is_known_of_it_says(changed: dict[str, Any], state: str, mode: str) -> None:
    found = stand(known(**changed))
    assert (found.state, found.mode) == (state, mode), found.why
    assert found.why


def test_why_is_said_with_the_words_of_who_has_the_trouble() -> None:
    assert stand(known(camera=said(CAMERA_IS, State.DEGRADED, "no answer"))).why == "camera-cam1: no answer"
    rejected = slots(slot(serving="", phase="rejected", reason="golden vectors differ"))
    assert stand(known(slots=rejected)).why == "caps: golden vectors differ"
    assert "finder" in stand(known(slots={"caps": slot()})).why


STANDS = [Stand(one) for one in (PREOPERATIONAL, HALTED, ERROR)]
STANDS += [Stand(OPERATIONAL, one) for one in (INITIALIZED, READY, RUNNING)]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STANDS, STANDS)))
def test_every_state_is_reached_from_every_other_by_automatic_transitions(before: Stand, after: Stand) -> None:
    state, mode = before.state, before.mode
    for machine, one in steps(before, after):
        assert one.name.endswith("Auto")
        if machine == STATE_MACHINE:
            assert one.source == state, "each begins where the one before ended"
            state = one.target
            mode = INITIALIZED if one.target == OPERATIONAL else ""
        else:
            assert state == OPERATIONAL and one.source == mode
            mode = one.target
    assert (state, mode) == (after.state, after.mode)


def test_the_way_is_the_shortest() -> None:
    assert [one.name for one in way(STATE_MACHINE, ERROR, OPERATIONAL)] == ["ErrorToOperationalAuto"]
    assert [one.name for one in way(STATE_MACHINE, HALTED, ERROR)] == [
        "HaltedToPreoperationalAuto", "PreoperationalToErrorAuto",
    ]  # fmt: skip
    assert way(STATE_MACHINE, ERROR, ERROR) == ()
