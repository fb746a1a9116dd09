"""`plantedge sim`: run a simulated plant, ask the demo's for its counters, disturb it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from edge.line.demo import control_socket
from edge.sim import control
from edge.sim.control import State
from edge.supervision.run_state import command_name, work_folder
from schemas.errors import StartError

ARM_S = 2.0
ASK_S = 0.05


def run(given: argparse.Namespace) -> int:
    """Carry out one action."""
    if given.action == "plant":
        return _plant(given)
    print(json.dumps(_answer(given), indent=1))
    return 0


def _plant(given: argparse.Namespace) -> int:
    """Run a plant in the foreground; without --control it is asked where the demo's would be, if that place is free."""
    from edge.sim.plant import run_plant  # numpy and the protocol servers, only for who runs them
    from edge.sim.plant_options import parsed

    options = parsed(given.rest, f"{command_name()} sim plant")
    if options.control is None:
        control_path = control_socket(work_folder(given.home))
        if _runs(control_path):
            text = f"{control_path} is that of a plant that runs already; to ask this one too, give it a --control"
            print(f"{command_name()} sim plant: {text}", file=sys.stderr)
        else:
            options = replace(options, control=control_path)
    return run_plant(options)


def _runs(path: Path) -> bool:
    try:
        control.read_state(path)
    except StartError:
        return False
    return True


def _answer(given: argparse.Namespace) -> State:
    path = control_socket(work_folder(given.home))
    if given.action == "fault":
        return control.send_fault(path, given.kind, given.for_s, given.source)
    if given.action == "disturb":
        return control.send_disturbance(path, given.kind, given.severity)
    if given.action == "clear":
        return control.send_clear(path)
    if given.action == "rearm":
        return _rearmed(path)
    return control.read_state(path)


def _rearmed(path: Path) -> State:
    """Press the reset and return what came of it: the device must see it, write its fail-safe's end, and say so."""
    state = control.send_rearm(path)
    end = time.monotonic() + ARM_S
    while not state.get("armed") and time.monotonic() < end:
        time.sleep(ASK_S)
        state = control.read_state(path)
    return state
