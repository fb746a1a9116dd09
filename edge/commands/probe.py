"""`plantedge probe`: which engine runs this device's models best, measured here; ``engine = "auto"` follows it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands.ownership import give_to_owner_of
from edge.engines import engine_names
from edge.models.contract import CONTRACT_FILE, newest_version
from edge.models.engine_choice import AUTO, CACHE_FOLDER, CHOICE_FILE, Choice, Measurement, machine, write_choice
from edge.models.probing import available, best, measure
from edge.settings import Engine, load_settings
from schemas.errors import ContractError

if TYPE_CHECKING:
    from rich.table import Column


def probe(home: Path, models: Path | None) -> int:
    """Measure, print, and keep the choice in the device folder; 1 if there is no model to measure with."""
    settings = load_settings(home).runtime
    folders = _newest(models or home / settings.folder)
    if not folders:
        print(f"plantedge probe: {models or home / settings.folder} holds no model to measure with", file=sys.stderr)
        return 1
    engines, lacking = available(engine_names())
    measured: list[Measurement] = []
    for folder in folders:
        try:
            measured += measure(folder, engines, settings, home, _say)
        except ContractError as error:
            print(f"plantedge probe: {error}", file=sys.stderr)
    _show(measured)
    load = os.getloadavg()[0]
    if load > (os.cpu_count() or 1) / 2:
        print(
            f"this machine was busy (load {load:.1f}): probe again when it is idle, the tails are not the engines' own"
        )
    for name, reason in lacking.items():
        print(f"{name}: not measured: {reason}")
    if not measured:
        return 1
    _keep(home, settings, Choice(engine=best(measured), machine=machine(), time_ns=time.time_ns(), measured=measured))
    return 0


def _newest(models: Path) -> list[Path]:
    """Return the newest version of each model."""
    names = sorted({path.parent.parent for path in models.glob(f"*/*/{CONTRACT_FILE}")})
    return [name / newest_version(name) for name in names]


def _keep(home: Path, settings: Engine, choice: Choice) -> None:
    write_choice(home, choice)
    cache = home / CACHE_FOLDER
    written = [home / CHOICE_FILE, (home / CHOICE_FILE).parent, cache, *cache.rglob("*")]
    give_to_owner_of(home, *(path for path in written if path.exists()))
    print(f"{choice.engine} is the choice, kept in {home / CHOICE_FILE}")
    if settings.engine != AUTO:
        print(f'[runtime] engine = "{settings.engine}" stands in the settings; "auto" would follow the choice')


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _show(measured: Sequence[Measurement]) -> None:
    from rich.console import Console  # slow to import
    from rich.table import Table

    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    table = Table("model", "batch", "engine", *map(_right, ("p50 ms", "p99 ms", "worst ms", "p99/cpu")), box=None)
    cpu = {(one.digest, one.batch): one.p99_ms for one in measured if one.engine == "cpu"}
    for one in sorted(measured, key=lambda one: (one.model, one.batch, one.engine)):
        if one.problem:
            table.add_row(one.model, "", one.engine, f"refused: {one.problem}")
            continue
        base = cpu.get((one.digest, one.batch))
        table.add_row(
            one.model, str(one.batch), one.engine, f"{one.p50_ms:.3f}", f"{one.p99_ms:.3f}",
            f"{one.worst_ms:.3f}", f"{one.p99_ms / base:.2f}" if base else "",
        )  # fmt: skip
    Console().print(table)
    print("; ".join(f"{engine}: {version}" for engine, version in sorted({(m.engine, m.version) for m in measured})))


def _right(name: str) -> Column:
    from rich.table import Column

    return Column(name, justify="right")
