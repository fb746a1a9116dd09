"""`plantedge plc browse`: what a PLC itself offers, as a tree, as JSON, or as a tag list."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from rich.text import Text

from edge.commands.plc.shown import clean, console, table
from edge.commands.plc.target import Target, connected, matches, target_of
from edge.commands.tag_lists import COLUMNS, usable
from edge.connectors import Browses
from edge.plc.browsing import Bounds, Offered, TimeIsUp
from edge.plc.imports import Export, Found
from schemas.errors import ConnectorError, StartError

_UNNAMED: Final = re.compile(r"[\x00-\x1f/+#]")  # what no tag's name may have
_ERASE: Final = "\r\x1b[K"
_NAME: Final = 128


def run(given: argparse.Namespace) -> int:
    """Print what there is; 0 if there was anything.

    Raises:
        PlantEdgeError: no such source, or the PLC can't be reached or lost the link; or its driver can't browse.
    """
    target = target_of(given)
    end = _End()
    with _Progress() as progress, connected(target, []) as connector:
        if not isinstance(connector, Browses):
            raise StartError(f"the driver {target.source.driver} can't browse; the PLC's project says what there is")
        bounds = Bounds(given.for_s, given.depth, given.numbers, progress.tell)
        offered: list[Offered] = []
        for one in _wanted(connector.browse(bounds), given, end):
            offered.append(one)
            if given.json:
                progress.clear()
                print(json.dumps(asdict(one), ensure_ascii=False), flush=True)
    found = len(offered)
    if given.csv:
        found = _print_list(target, offered, given.group)
    elif not given.json:
        _print_tree(offered)
    told = f"{found:,} {'tags' if given.csv else 'found'} with {bounds.requests:,} requests"
    print(f"{clean(target.where)}: {told}{end.why and '; '}{clean(end.why)}", file=sys.stderr)
    return 0 if found and not end.lost else 1


@dataclass
class _End:
    """Why it ended before all was asked. `lost`: the link was."""

    why: str = ""
    lost: bool = False


def _wanted(seen: Iterator[Offered], given: argparse.Namespace, end: _End) -> Iterator[Offered]:
    """Yield what a pattern asks for, up to a count and until the time is up; say what was left."""
    count = 0
    try:
        for one in seen:
            if given.pattern and not _is_like(one, given.pattern):
                continue
            if count == given.count:
                end.why = f"there is more; --count takes more than {count}, a pattern less"
                return
            count += 1
            yield one
    except TimeIsUp:
        end.why = f"not all: ended after {given.for_s:g} s; --for takes longer"
    except KeyboardInterrupt:
        end.why = "not all: ended by Ctrl-C"
    except ConnectorError as error:
        end.why, end.lost = f"not all: {error}", True


def _is_like(one: Offered, pattern: str) -> bool:
    names = (".".join(one.path), one.path[-1] if one.path else "", one.address, ".".join(one.path[1:]))
    return any(matches(name, pattern) for name in names)


# -- a tree -----------------------------------------------------------------------------------------------------------


def _print_tree(offered: Sequence[Offered]) -> None:
    """Print names indented by their place; ways that nothing stands for are printed where something hangs there."""
    rows: list[tuple[str | Text, ...]] = []
    held: tuple[str, ...] = ()
    for one in offered:
        shared = 0
        while shared < min(len(held), len(one.path) - 1) and held[shared] == one.path[shared]:
            shared += 1
        rows += [
            (Text("  " * depth + clean(one.path[depth]), style="bold"), *[""] * 5)
            for depth in range(shared, len(one.path) - 1)
        ]
        held = one.path
        name = Text("  " * (len(one.path) - 1) + clean(one.path[-1]), style="" if one.type else "bold")
        kind = clean(one.type or one.kind)
        told = clean(one.kind) if one.type and one.kind != one.type else ""
        access = "rw" if one.writable else ""
        rows.append((name, clean(one.address), kind, told, access, Text(clean(one.note), style="dim")))
    out = console()
    for line in table(("name", "address", "type", "in the PLC", "access", "note"), rows):
        out.print(line)


# -- a tag list -------------------------------------------------------------------------------------------------------


def _print_list(target: Target, offered: Iterable[Offered], group: str) -> int:
    """Print a tag list, and on stderr what can't be in one and why; return how many tags it has."""
    export = Export()
    tags = [one for one in offered if one.type]
    rows = usable([_found(one) for one in tags if one.address.isprintable()], group, target.source.driver, export)
    for one in tags:
        if not one.address.isprintable():
            export.leave_out(0, ".".join(one.path), "its address has signs that can't be seen")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if rows:
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    for left in export.left_out:
        print(f"{clean(left.name)}: left out: {clean(left.reason)}", file=sys.stderr)
    return len(rows)


def _found(one: Offered) -> Found:
    """Return a find as a row; its name is its way through the tree, without the root that all share."""
    path = one.path[1:] if len(one.path) > 1 else one.path
    name = re.sub(r"\.(?=\[)", "", ".".join(path))
    return Found(
        name=_UNNAMED.sub("_", name)[-_NAME:], address=one.address, type=one.type, line=0, description=clean(one.note)
    )


class _Progress:
    """What is asked for just now, on a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def tell(self, about: str) -> None:
        if self._shown:
            with suppress(OSError):
                print(f"{_ERASE}{clean(about)[:72]} ...", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print(_ERASE, end="", file=sys.stderr, flush=True)
