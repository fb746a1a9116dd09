"""`plantedge replay`: what lies behind a verdict, run again on this device and compared bit for bit."""

from __future__ import annotations

import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from edge.commands.device import device_home
from edge.history.evidence import EvidenceReader
from edge.inference.replay import Replayed, replay
from edge.settings import load_settings
from schemas.errors import PlantEdgeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.table import Table

    from schemas.evidence import Evidence

SAME, DIFFERS, CANT = 0, 1, 2
_DIGEST: Final = 12  # digits of it, for people
_SHOWN: Final = 6  # numbers of an output
_WIDTH: Final = 160  # where there is no terminal


def run_again(home: Path | None, result_id: str, engine: str = "", save: Path | None = None) -> int:
    """Print what was and what is; 0 if every bit is the same, 1 if not, 2 if it can't be run here."""
    folder = device_home(home)
    try:
        settings = load_settings(folder)
        evidence = EvidenceReader(folder).find(result_id)
        replayed = replay(evidence, folder, settings.runtime, engine)
        _print(replayed)
        if save:
            from edge.commands.evidence_files import write_files  # pillow, which few calls need

            for path in write_files(save, replayed):
                print(f"wrote {path}")
    except PlantEdgeError as error:
        print(f"plantedge replay: {error}", file=sys.stderr)
        return CANT
    except OSError as error:
        print(f"plantedge replay: {error.filename}: {error.strerror}", file=sys.stderr)
        return CANT
    return SAME if replayed.same else DIFFERS


def list_kept(home: Path | None, pipeline: str = "", last: int = 20) -> int:
    """Print what can be replayed, the newest first; 0 if there is anything, 2 if not."""
    reader = EvidenceReader(device_home(home))
    table = _table("result", "time", "part", "why", "verdict", "label", "score", "model")
    for kept in islice(reader.newest_first(pipeline), last):
        part = "" if kept.part_id is None else str(kept.part_id)
        table.add_row(
            kept.result_id, _clock(kept.time_ns), part, kept.kept_for, kept.verdict, kept.label, f"{kept.score:.4g}",
            f"{kept.model} {kept.version}",
        )  # fmt: skip
    for problem in reader.problems:
        print(f"plantedge replay: {problem}", file=sys.stderr)
    if not table.row_count:
        what = f"of pipeline {pipeline}" if pipeline else "yet"
        where = "[pipelines.NAME.evidence] says what is, while the historian runs"
        print(f"plantedge replay: nothing is kept {what}; {where}", file=sys.stderr)
        return CANT
    _show(table)
    return SAME


def _print(replayed: Replayed) -> None:
    then = replayed.evidence
    _show(_facts(then))
    inputs = _table("input", "type", "shape", "lowest", "highest")
    for name, array in replayed.inputs.items():
        inputs.add_row(name, array.dtype.name, _shape(array), *_range(array))
    _show(inputs)
    outputs = _table("output", "then", "now", "same bits", "largest difference")
    for output in replayed.outputs:
        far = "-" if output.most is None else f"{output.most:.3g}"
        now = "not there" if output.now is None else _values(output.now)
        outputs.add_row(output.name, _values(output.then), now, "yes" if output.same else "NO", far)
    judged = replayed.judgement
    outputs.add_row(
        "verdict", f"{then.verdict} {then.label} {then.score:.6g}".strip(),
        f"{judged.verdict} {judged.label} {judged.score:.6g}".strip(), "NO" if replayed.verdict_changed else "yes", "-",
    )  # fmt: skip
    _show(outputs)
    if replayed.same:
        print(f"The same to the bit: {replayed.engine_version}, row {then.row} of a batch of {then.batch}.")
        return
    print("It differs. What is not as it was:")
    for cause in replayed.causes():
        print(f"  {cause}")


def _facts(then: Evidence) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    facts = {
        "result": then.result_id,
        "part": "-" if then.part_id is None else str(then.part_id),
        "time": _clock(then.time_ns),
        "why kept": f"{then.kept_for}; {then.outcome}, quality {then.quality} {then.reason}".rstrip(),
        "pipeline": then.pipeline + (f", recipe {then.recipe}" if then.recipe else ""),
        "engine": f"{then.engine}: {then.engine_version}",
        "machine": then.machine,
    }
    for name, text in facts.items():
        table.add_row(name, text)
    for model in then.models:
        table.add_row("model", f"{model.name} {model.version}, SHA-256 {model.digest[:_DIGEST]}...")
    return table


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)  # an id must be copied in one piece
    return table


def _show(table: Table) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def _clock(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9))


def _shape(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape))


def _range(array: NDArray[Any]) -> Iterator[str]:
    yield from (f"{float(edge):.6g}" for edge in (array.min(), array.max())) if array.size else ("-", "-")


def _values(array: NDArray[Any]) -> str:
    if array.size > _SHOWN:
        low, high = _range(array)
        return f"{_shape(array)}, {low} to {high}"
    return " ".join(f"{float(value):.6g}" for value in array.ravel())
