"""Writes docs/reference/plc-programs.md, the PLC's side of the outputs: `python -m edge.plc.outputs.ladder_page`.

tests/edge/connect/test_ladder_text.py compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge.plc.outputs.ladder_text import ladder, scl, structured_text
from edge.plc.outputs.table import HOOKS, Hook
from edge.plc.tags.tag import Access, Tag
from edge.settings import Outputs

FILE: Final = Path("docs/reference/plc-programs.md")
_ROOT: Final = Path(__file__).resolve().parents[3]
_PLACES: Final = {
    "verdict": ("Eject.Reject", "bool", "DB1.DBX0.0"), "data_valid": ("Edge.DataValid", "bool", "DB1.DBX0.1"),
    "armed": ("Edge.Armed", "bool", "DB1.DBX0.2"), "busy": ("Edge.Busy", "bool", "DB1.DBX0.3"),
    "done": ("Edge.Done", "bool", "DB1.DBX0.4"), "error": ("Edge.Error", "bool", "DB1.DBX0.5"),
    "part": ("Eject.PartId", "uint32", "DB1.DBD2"), "result_id": ("Edge.ResultId", "uint16", "DB1.DBW6"),
    "heartbeat": ("Edge.Heartbeat", "uint16", "DB1.DBW8"), "result_ack": ("Plc.ResultAck", "uint16", "DB1.DBW10"),
    "rearm": ("Plc.Rearm", "bool", "DB1.DBX12.0"), "request": ("Plc.Request", "bool", "DB1.DBX12.1"),
    "manual": ("Plc.Manual", "bool", "DB1.DBX12.2"),
}  # fmt: skip
_HEAD: Final = """<!-- Generated, do not edit: python -m edge.plc.outputs.ladder_page -->
# The PLC's programs

What a pipeline's outputs may have as tags, and the PLC's side of them to paste, here with every hook. [Commission a
PLC](../how-to/commission-plc.md) says what to choose and how to try it. No program here was compiled for a PLC or run
on one: tests run the simulated plant's (`edge/sim/ladder.py`).

This is not a safety function (no SIL, no PL).

## Tags of `[outputs.<pipeline>]`

Tags that the device writes need `access` rw; then nobody else can write them, but an operator in manual `verdict`,
`data_valid`, `part` and `result_id`. None may be scaled.

"""


def page() -> str:
    """Return the page."""
    tags = {
        name: Tag(name=name, address=address, type=kind, access=Access.WRITE)
        for name, kind, address in _PLACES.values()
    }
    outputs = Outputs.model_validate({"source": "plc"} | {key: place[0] for key, place in _PLACES.items()})
    rows = "\n".join(_row(hook) for hook in HOOKS)
    head = "| key | type | who writes | meaning |\n|---|---|---|---|"
    texts = (
        ("Structured text", "IEC 61131-3: CODESYS, TwinCAT, Sysmac and others.", structured_text),
        ("SCL", "S7-1200 and S7-1500: save it as `edge.scl`, add it as an external source, generate blocks.", scl),
        ("Ladder", "The same as rungs: contacts `] [` and `]/[`, boxes `[...]`, coils `( )`, `(S)` and `(R)`.", ladder),
    )
    parts = [f"## {title}\n\n{said}\n\n```text\n{text(outputs, tags)}```\n" for title, said, text in texts]
    return f"{_HEAD}{head}\n{rows}\n\n" + "\n".join(parts)


def _row(hook: Hook) -> str:
    kind = "bool" if hook.types == ("bool",) else "an integer"
    return f"| `{hook.key}` | {kind} | {'device' if hook.written else 'PLC'} | {hook.meaning} |"


if __name__ == "__main__":
    (_ROOT / FILE).write_text(page(), encoding="utf-8")
