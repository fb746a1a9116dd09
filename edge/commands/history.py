"""`plantedge history query|export|plot`: the local store, in tables, files and pictures."""

from __future__ import annotations

import re
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from edge.commands.device import device_home
from edge.history.export import TIME, Asked, iso, table, write_csv, write_json, write_parquet
from edge.history.query import History, Tier
from schemas.errors import StartError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from edge.history.export import Table
    from schemas.fields import Value

NOTHING, FOUND = 1, 0
TIERS: Final = {"second": Tier.SECOND, "minute": Tier.MINUTE}
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_POINTS: Final = 240  # intervals across a picture
_LEAST_S: Final = 10  # what windows and metrics come in


def query(given: argparse.Namespace) -> int:
    """Print rows, or without a subject what there is; 0 if there is anything."""
    with closing(History(device_home(given.home))) as history:
        if not (given.tag or given.pipeline or given.events):
            return _what_there_is(history)
        found = table(history, asked(given, newest=True))
        if given.json:
            return FOUND if write_json(found, sys.stdout, given.limit) else _nothing()
        return _print(found, given.limit)


def export(given: argparse.Namespace) -> int:
    """Write all rows to a file, by its ending CSV or Parquet."""
    if not (given.tag or given.pipeline or given.events):
        raise StartError("what? --tag SOURCE/TAG, --pipeline P or --events")
    out: Path = given.out
    if out.suffix not in (".csv", ".parquet"):
        raise StartError(f"{out}: write .csv or .parquet")
    with closing(History(device_home(given.home))) as history:
        found = table(history, asked(given, newest=False))
        if out.suffix == ".parquet":
            count = write_parquet(found, out)
        else:
            with out.open("w", encoding="utf-8", newline="") as file:
                count = write_csv(found, file)
    print(f"{out}: {count} rows")
    return FOUND if count else _nothing()


def plot(given: argparse.Namespace) -> int:
    """Draw one view or all, each into a file."""
    from edge.history.curves import Span
    from edge.history.plots import plot as draw
    from edge.history.views import VIEWS

    views = [view for view in VIEWS if given.view in ("all", view.name)]
    start_ns, end_ns = between(given, time.time_ns())
    every_s = max(_LEAST_S, round((end_ns - start_ns) / 1e9 / _POINTS))
    with closing(History(device_home(given.home))) as history:
        tag = _tag(given.tag) if given.tag else _first_tag(history)
        for view in views:
            print(draw(history, view, Span(start_ns, end_ns, every_s * 10**9, tag), given.out))
    return FOUND


def asked(given: argparse.Namespace, *, newest: bool) -> Asked:
    """Return what the command line asks for."""
    start_ns, end_ns = between(given, time.time_ns())
    return Asked(
        start_ns, end_ns, tag=_tag(given.tag) if given.tag else None, pipeline=given.pipeline, field=given.field,
        code=given.code, tier=TIERS.get(given.every), newest=newest,
    )  # fmt: skip


def between(given: argparse.Namespace, now_ns: int) -> tuple[int, int]:
    """Return the range of time that is asked for.

    Raises:
        StartError: it can't be read, or is empty.
    """
    end_ns = moment(given.until) if given.until else now_ns + 1
    start_ns = moment(given.since) if given.since else end_ns - int(length(given.last).total_seconds() * 10**9)
    if start_ns >= end_ns:
        raise StartError(f"{iso(start_ns)} to {iso(end_ns)}: the range ends before it begins")
    return start_ns, end_ns


def moment(text: str) -> int:
    """Return a time in nanoseconds; one without a zone is local."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 10**6) * 1_000
    except ValueError as error:
        raise StartError(
            f"{text!r} is no time: write 2026-11-30T14:05, or with a zone 2026-11-30T14:05+01:00"
        ) from error


def length(text: str) -> timedelta:
    """Return a length of time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise StartError(f"{text!r} is no length of time: write 90s, 15m, 8h or 7d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def _tag(text: str) -> tuple[str, str]:
    source, slash, name = text.partition("/")
    if not slash or not name:
        raise StartError(f"--tag {text}: write SOURCE/TAG, such as plant/Line.Speed")
    return source, name


def _first_tag(history: History) -> tuple[str, str]:
    """Return a number among the newest readings, for a page that shows one tag."""
    for row in history.rows("reading", 0, time.time_ns(), backward=True, limit=50).items:
        for name, held in sorted(row.fields.items()):
            if isinstance(held, float):
                return row.tags["source"], name
    return "", ""


def _what_there_is(history: History) -> int:
    lines: list[tuple[Value, ...]] = []
    for name in sorted({one.measurement for one in history.series()}):
        if (edges := history.extent(name)) is not None:
            lines.append((name, history.count(name), iso(edges[0]), iso(edges[1])))
    if not lines:
        return _nothing()
    _show(("measurement", "points", "oldest", "newest"), lines)
    return FOUND


def _print(found: Table, most: int) -> int:
    rows = [(iso(int(str(row[0]))), *row[1:]) for row in islice(found.rows, most)]
    if not rows:
        return _nothing()
    _show((TIME, *found.columns[1:]), rows)
    return FOUND


def _show(columns: tuple[str, ...], rows: list[tuple[Value, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Shown

    shown = Shown(box=SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        shown.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in rows:
        shown.add_row(*(_text(cell) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False, markup=False, emoji=False).print(shown)


def _text(cell: Value) -> str:
    if cell is None:
        return "-"
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell).lower() if isinstance(cell, bool) else str(cell)


def _nothing() -> int:
    print("plantedge history: nothing in this time; `plantedge history query` says what there is", file=sys.stderr)
    return NOTHING
