"""`plantedge plc check` and `plantedge plc import`: tag lists before there is a PLC."""

from __future__ import annotations

import csv
import fnmatch
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from edge.connectors import Plans, driver_names, load_driver
from edge.plc.imports import Export, Found, read_export
from edge.plc.planning import Planned
from edge.plc.poll import poll_groups
from edge.plc.tags.lists import Tag, load_tags
from edge.plc.tags.parsing import parse_row
from edge.settings import Source, load_settings
from schemas.errors import SettingsError, TagError
from schemas.topics import READING, slug

COLUMNS: Final = ("name", "address", "type", "access", "group", "scale", "unit", "description")


def check(file: Path, driver: str, groups: str, home: Path | None) -> int:
    """Print every problem of a tag list, or what a scan of it takes; 1 if there is a problem.

    Raises:
        SettingsError: every problem, or arguments that can't be read.
    """
    source = _source(file, driver, groups, home)
    used = load_driver(source.driver) if source.driver != _NO_DRIVER else None
    tags = load_tags(file, source.groups, used.check_address if used else None)
    plans = used if isinstance(used, Plans) else None
    named = dict(source.groups) or dict.fromkeys(sorted({tag.group for tag in tags.values()}), 0.0)
    table = Table(title=f"{file}: {len(tags)} tags", title_justify="left")
    for head in ("group", "tags", "types", "requests a scan", "bytes asked", "bytes answered", "requests a second"):
        table.add_column(head, justify="left" if head in ("group", "types") else "right")
    for group in poll_groups(named, tags):
        planned: list[Planned] = plans.planned(source, group.tags) if plans else []
        table.add_row(group.name or "-", f"{len(group.tags):,}", _types(group.tags), *_costs(planned, group.period_ms))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    notes = [*_notes(source, tags), *(() if plans else ["requests are planned with --driver D, where D plans ahead"])]
    print("\n".join(["no problems", *(f"note: {note}" for note in notes)]))
    return 0


_NO_DRIVER: Final = "none"


def _source(file: Path, driver: str, groups: str, home: Path | None) -> Source:
    """Return what reads the list: a device's source, whose driver and groups may be given otherwise."""
    if driver and driver not in driver_names():
        load_driver(driver)  # says what there is
    known = load_settings(home).sources.values() if home else ()
    mine = [one for one in known if home is not None and (home / one.tags).resolve() == file.resolve()]
    if home is not None and not mine and not (driver and groups):
        raise SettingsError([f"{file}: no source in {home} has these tags; say --driver and --groups"])
    held = mine[0] if mine else Source(driver=_NO_DRIVER, tags=str(file), groups={})
    return held.model_copy(
        update=({"driver": driver} if driver else {}) | ({"groups": _groups(groups)} if groups else {})
    )


def _groups(text: str) -> dict[str, float]:
    """Return `fast=20,slow=1000` as periods in milliseconds."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, period = part.partition("=")
        if not name.strip() or not re.fullmatch(r"\d+(\.\d+)?", period.strip()) or float(period) <= 0:
            raise SettingsError([f"--groups {part!r}: write NAME=MILLISECONDS, such as fast=20,slow=1000"])
        found[name.strip()] = float(period)
    return found


def _types(tags: Iterable[Tag]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(tag.type for tag in tags).most_common())


def _costs(planned: Sequence[Planned], period_ms: float) -> tuple[str, str, str, str]:
    if not planned:
        return "", "", "", ""
    asked, answered = sum(one.asked for one in planned), sum(one.answered for one in planned)
    rate = f"{len(planned) * 1e3 / period_ms:,.4g}" if period_ms else ""
    return f"{len(planned):,}", f"{asked:,}", f"{answered:,}", rate


def _notes(source: Source, tags: Mapping[str, Tag]) -> list[str]:
    """What is no mistake of the list, and yet will be asked about."""
    notes: list[str] = []
    scans = sum(1e3 / period for name, period in source.groups.items() if any(t.group == name for t in tags.values()))
    if scans > READING.max_hz:
        notes.append(f"{scans:.0f} scans a second; at most {READING.max_hz:g} are published, poll slower")
    same: dict[str, list[str]] = {}
    for name in tags:
        same.setdefault(slug(name), []).append(name)
    notes += [
        f"{' and '.join(names)} share a topic of mes/tag; rename one" for names in same.values() if len(names) > 1
    ]
    return notes


# -- import -----------------------------------------------------------------------------------------------------------


def import_tags(file: Path, driver: str, group: str, only: Sequence[str], blocks: Sequence[str]) -> int:
    """Print a tag list made of an export, and on stderr what was left out and why; 1 if there is no tag in it.

    Raises:
        SettingsError: the export can't be read.
    """
    export = read_export(file, driver, _numbers(blocks))
    wanted = [found for found in export.found if not only or any(_matches(found.name, one) for one in only)]
    rows = usable(wanted, group, driver, export)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if rows:
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    for one in sorted(export.left_out, key=lambda left: left.line):
        print(f"{file}:{one.line}: {one.name}: left out: {one.reason}", file=sys.stderr)
    others = len(export.found) - len(wanted)
    passed = f", {others} not asked for" if others else ""
    print(f"{file}: {len(rows)} tags, {len(export.left_out)} left out{passed}", file=sys.stderr)
    return 0 if rows else 1


def _numbers(blocks: Sequence[str]) -> dict[str, int]:
    """Return `NAME=10` as numbers of data blocks."""
    found: dict[str, int] = {}
    for text in blocks:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal():
            raise SettingsError([f"--db {text!r}: write NAME=NUMBER, such as Recipe=10"])
        found[name] = int(number)
    return found


def _matches(name: str, pattern: str) -> bool:
    """`*` and `?` alone have a meaning: names have brackets of their own."""
    return fnmatch.fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


def usable(wanted: Iterable[Found], group: str, driver: str, export: Export) -> list[tuple[str, ...]]:
    """Return the rows that a tag list may have; the others are left out with what is wrong."""
    used = load_driver(driver) if driver in driver_names() else None
    rows: dict[str, tuple[str, ...]] = {}
    for found in wanted:
        scale = f"{found.scale:g}" if found.scale != 1.0 else ""
        row = (found.name, found.address, found.type, "r", group, scale, found.unit, found.description)
        problems: list[str] = []
        filled = {key: value for key, value in zip(COLUMNS, row, strict=True) if value}
        tag = parse_row(filled, found.line, (), problems)
        try:
            if tag is not None and used is not None:
                used.check_address(tag)
        except TagError as error:
            problems.append(str(error))
        if found.name in rows:
            problems.append("there is another of this name")
        if problems:
            export.leave_out(found.line, found.name, "; ".join(problems))
        else:
            rows[found.name] = row
    return list(rows.values())
