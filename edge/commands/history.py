"""`plantedge history query|export|plot`: the local store, in tables, files and pictures."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final

from edge.commands.device import device_home
from edge.history.export import TIME, Asked, iso, table, write_csv, write_json, write_parquet
from edge.history.names import why_nothing
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
_LAST: Final = "1h"
_LOOKED_AT: Final = 200  # readings, to find a tag that is worth a picture
_LATEST_NS: Final = 2**63 - 1  # what the store can hold: the year 2262


def query(given: argparse.Namespace) -> int:
    """Print rows, or without a subject what there is; 0 if there is anything."""
    if given.limit < 1:
        raise StartError(f"--limit {given.limit}: write 1 or more")
    with closing(History(device_home(given.home))) as history:
        if not _has_subject(given):
            return _what_there_is(history, as_json=given.json)
        wanted = asked(given, newest=True)
        found = table(history, wanted)
        count = write_json(found, sys.stdout, given.limit) if given.json else _print(found, given.limit)
        return FOUND if count else _nothing(why_nothing(history, wanted))


def export(given: argparse.Namespace) -> int:
    """Write all rows to a file, by its ending CSV or Parquet."""
    if not _has_subject(given):
        raise StartError("of what? --tag SOURCE/TAG, --pipeline P or --events")
    out: Path = given.out
    if out.suffix not in (".csv", ".parquet"):
        raise StartError(f"{out}: write .csv or .parquet")
    with closing(History(device_home(given.home))) as history:
        wanted = asked(given, newest=False)
        found = table(history, wanted)
        with _writing(out):
            if out.suffix == ".parquet":
                count = write_parquet(found, out)
            else:
                with out.open("w", encoding="utf-8", newline="") as file:
                    count = write_csv(found, file)
        print(f"{out}: {count} rows")
        return FOUND if count else _nothing(why_nothing(history, wanted))


def plot(given: argparse.Namespace) -> int:
    """Draw one view or all, each into a file."""
    from edge.history.curves import Span
    from edge.history.plots import plot as draw
    from edge.history.views import VIEWS

    views = [view for view in VIEWS if given.view in ("all", view.name)]
    start_ns, end_ns = between(given, time.time_ns())
    with closing(History(device_home(given.home))) as history:
        tag = _tag(given.tag) if given.tag else telling_tag(history)
        if (edges := history.extent()) is None or edges[0] >= end_ns or edges[1] < start_ns:
            return _nothing("nothing in this time; `plantedge history query` says what there is")
        start_ns = max(start_ns, edges[0])  # a young device has not eight hours to show
        every_s = max(_LEAST_S, round((end_ns - start_ns) / 1e9 / _POINTS))
        for view in views:
            with _writing(given.out):
                print(draw(history, view, Span(start_ns, end_ns, every_s * 10**9, tag), given.out), flush=True)
    return FOUND


def _has_subject(given: argparse.Namespace) -> bool:
    """Return whether anything is asked for.

    Raises:
        StartError: two things are, or what limits one that is not.
    """
    subjects = {"--tag": given.tag, "--pipeline": given.pipeline, "--events": given.events}
    named = [option for option, said in subjects.items() if said]
    if len(named) > 1:
        raise StartError(f"{' and '.join(named)}: ask for one of them at a time")
    if given.field and not given.pipeline:
        raise StartError(f"--field {given.field}: of which pipeline? add --pipeline P")
    if given.code and not given.events:
        raise StartError(f"--code {given.code}: add --events")
    limits = {"--every": given.every, "--last": given.last, "--from": given.since, "--to": given.until}
    if not named and (said := [option for option, value in limits.items() if value]):
        raise StartError(f"{said[0]} of what? add --tag SOURCE/TAG, --pipeline P or --events")
    return bool(named)


@contextmanager
def _writing(out: Path) -> Generator[None]:
    """Say what could not be written.

    Raises:
        StartError: the folder is not there, may not be written, or is full.
    """
    try:
        yield
    except OSError as error:
        raise StartError(f"{out} can't be written: {error.strerror or error}; name another with --out") from error


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
    if given.last and given.since:
        raise StartError("--last and --from both say where it begins; write one of them")
    end_ns = min(moment(given.until), _LATEST_NS) if given.until else now_ns + 1
    long_ns = int(length(given.last or _LAST).total_seconds() * 10**9)
    start_ns = min(moment(given.since), _LATEST_NS) if given.since else end_ns - long_ns
    if start_ns >= end_ns:
        why = "is empty" if start_ns == end_ns else "ends before it begins"
        raise StartError(f"{iso(start_ns)} to {iso(end_ns)}: the range {why}")
    return max(0, start_ns), end_ns


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
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError as error:
        raise StartError(f"{text}: nothing is kept for so long; write 90s, 15m, 8h or 7d") from error


def _tag(text: str) -> tuple[str, str]:
    source, slash, name = text.partition("/")
    if not slash or not name:
        raise StartError(f"--tag {text}: write SOURCE/TAG, such as plant/Line.Speed")
    return source, name


def telling_tag(history: History) -> tuple[str, str]:
    """Return a number among the newest readings, for a page that shows one tag: no counter, if there is another."""
    held: dict[tuple[str, str], list[float]] = {}
    for row in history.rows("reading", 0, time.time_ns(), backward=True, limit=_LOOKED_AT).items:
        for name, value in row.fields.items():
            if isinstance(value, float):
                held.setdefault((row.tags["source"], name), []).append(value)
    told = sorted(held, key=lambda tag: (not _goes_both_ways(held[tag]), tag))
    return told[0] if told else ("", "")


def _goes_both_ways(values: list[float]) -> bool:
    steps = [late - early for early, late in pairwise(values)]
    return any(step > 0 for step in steps) and any(step < 0 for step in steps)


def _what_there_is(history: History, *, as_json: bool) -> int:
    names = ("measurement", "points", "oldest", "newest")
    lines: list[tuple[Value, ...]] = []
    for name in sorted({one.measurement for one in history.series()}):
        if (edges := history.extent(name)) is not None:
            lines.append((name, history.count(name), iso(edges[0]), iso(edges[1])))
    if not lines:
        return _nothing("nothing is stored yet")
    if as_json:
        print("\n".join(json.dumps(dict(zip(names, line, strict=True))) for line in lines))
    else:
        _show(names, lines)
    return FOUND


def _print(found: Table, most: int) -> int:
    rows = [(iso(int(str(row[0]))), *row[1:]) for row in islice(found.rows, most)]
    if rows:
        _show((TIME, *found.columns[1:]), rows)
    return len(rows)


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


def _nothing(why: str) -> int:
    print(f"plantedge history: {why}", file=sys.stderr)
    return NOTHING
