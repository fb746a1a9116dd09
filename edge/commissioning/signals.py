"""The tags between device and PLC, as they were read while parts passed: a row of the acceptance."""

from __future__ import annotations

from typing import Final

from edge.commissioning.heard import Heard
from edge.commissioning.record import Figure, Row, Verdict, found, holds, told
from edge.plc.outputs.table import used
from edge.settings import Outputs

PRICE: Final = {
    "part": "the newest verdict stands in the coil, for whichever part comes by",
    "heartbeat": "the PLC does not notice a dead device or a cut cable",
    "rearm": "the fail-safe releases itself as soon as decisions come again",
    "armed": "the PLC can't tell a verdict from the fail-safe",
    "result_id": "a PLC slower than two writes latches wrong verdicts",
}
MOVING: Final = ("heartbeat", "part", "result_id", "result_ack")
STANDING: Final = {"armed": True, "rearm": False}


def signals_row(pipeline: str, outputs: Outputs, heard: Heard, for_s: float) -> Row:
    """Return what was read of the tags of one pipeline's outputs."""
    figures: list[Figure] = []
    for hook in used(outputs):
        figures.append(_figure(hook.key, hook.tag(outputs), outputs.source, heard))
    left_out = [f"{key} is left out: {price}." for key, price in PRICE.items() if not getattr(outputs, key)]
    return found(
        f"signals-{pipeline}", f"Tags of {pipeline}", f"read for {for_s:g} s while parts passed",
        "numbers move, armed is true, the reset is not stuck", figures, note=" ".join(left_out),
    )  # fmt: skip


def _figure(key: str, tag: str, source: str, heard: Heard) -> Figure:
    value, moves = heard.value(source, tag), heard.moves[source, tag]
    name = f"{key}, {tag}"
    if value is None:
        return Figure(name=name, value="not read: no poll group, or Bad", verdict=Verdict.SKIPPED)
    if key in MOVING:
        return Figure(
            name=f"{name}: moved", value=moves, unit="times", verdict=Verdict.PASS if moves > 1 else Verdict.FAIL
        )
    if key in STANDING:
        return holds(f"{name} is {str(STANDING[key]).lower()}", value is STANDING[key])
    return told(name, str(value).lower())
