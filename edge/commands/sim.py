"""`plantedge sim`: run a simulated plant, ask the demo's for its counters, disturb it."""

from __future__ import annotations

import argparse
import json

from edge.line.demo import control_socket
from edge.sim import control
from edge.sim.control import State
from edge.supervision.run_state import work_folder


def run(given: argparse.Namespace) -> int:
    """Carry out one action."""
    if given.action == "plant":
        from edge.sim.plant import main  # numpy and the protocol servers, only for who runs them

        return main(given.rest)
    print(json.dumps(_answer(given), indent=1))
    return 0


def _answer(given: argparse.Namespace) -> State:
    path = control_socket(work_folder(given.home))
    if given.action == "fault":
        return control.send_fault(path, given.kind, given.for_s, given.cable)
    if given.action == "disturb":
        return control.send_disturbance(path, given.kind, given.severity)
    if given.action == "clear":
        return control.send_clear(path)
    if given.action == "rearm":
        return control.send_rearm(path)
    return control.read_state(path)
