"""Writes docs/reference/models.md from the model folders alone, so that a test can compare it with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.models.contract import Contract
from edge.sim.training.package import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge.models.contract import Input, Output

_INTRODUCTION: Final = f"""\
<!-- Generated, do not edit: {COMMAND} reference -->
# The demo's models

Small models that ship with the demo, so that a line can be inspected before anyone trains anything. The pictures and
line signals are **synthetic**; the machine's temperature is a real record. The figures say how the models do on such
data and promise nothing for another plant. The data that they were measured on is not what the models were fitted to.

`{COMMAND} all` makes them again (needs the `train` extra and the NAB records); torch's results differ in the last
digits from machine to machine.
"""

_DETECTED: Final = {
    "boxes": "left, top, right, bottom in pixels; candidates before non-maximum suppression",
    "scores": "how sure each box is, 0 to 1",
}


def contracts(models: Path) -> list[Contract]:
    """Load every model folder under `models`, in order of name and version."""
    return [Contract.load(path.parent) for path in sorted(models.glob("*/*/model.toml"))]


def render(loaded: Iterable[Contract]) -> str:
    """Return the page."""
    return "\n".join([_INTRODUCTION, *(_section(contract) for contract in loaded)])


def _section(contract: Contract) -> str:
    timing, size_kb = contract.timing, contract.model_path.stat().st_size / 1000
    lines = [
        f"## {contract.name} {contract.version}",
        "",
        contract.summary,
        "",
        f"Kind: {contract.kind}. File: {size_kb:.0f} kB, SHA-256 `{contract.sha256}`.",
        "",
        "| tensor | type | shape | meaning |",
        "|---|---|---|---|",
        *(_input_row(tensor) for tensor in contract.inputs),
        *(_output_row(tensor) for tensor in contract.outputs),
        "",
        f"Time of one run, batch 1, one core, {timing.runs} runs: p50 {timing.p50_ms:.3f} ms, p99 {timing.p99_ms:.3f} "
        f"ms, worst {timing.worst_ms:.3f} ms ({timing.machine}).",
        "",
        f"Measured on {contract.measured.on}:",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in contract.measured.figures.items()),
        "",
    ]
    return "\n".join(lines)


def _input_row(tensor: Input) -> str:
    ranges = [f"{channel.name} {channel.low:g}..{channel.high:g} {channel.unit}" for channel in tensor.channels]
    pace = f"; a sample every {tensor.sample_s:g} s, oldest first" if tensor.sample_s else ""
    return f"| in `{tensor.name}` | {tensor.dtype} | {_shape(tensor.shape)} | {', '.join(ranges)}{pace} |"


def _output_row(tensor: Output) -> str:
    meaning = ", ".join(tensor.labels) or _DETECTED.get(tensor.name, "")
    if tensor.alarm_at is not None:
        meaning = f"alarm from {tensor.alarm_at:g} on"
    return f"| out `{tensor.name}` | {tensor.dtype} | {_shape(tensor.shape)} | {meaning} |"


def _shape(shape: tuple[int | str, ...]) -> str:
    return " x ".join(str(axis) for axis in shape)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 2 else f"{value:.4g}"
