"""What `plantedge plc read|watch|write|browse` take on the command line, and who carries them out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    AddParser = Callable[..., argparse.ArgumentParser]

LOOKING = ("read", "watch", "write", "browse")
_PLC = "a source of the device, or DRIVER://HOST[:PORT]; modbus_rtu:///dev/ttyUSB0 for a serial line"
_TAG = "a tag of the list (* and ? match several), or an address of the PLC's own with its type: hr:0:uint16"


class Mixed(argparse.ArgumentParser):
    """A parser whose positional words may stand before, between and behind the options."""

    _inside = False

    def parse_known_args(  # type: ignore[override]  # argparse's own signature has four overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as `parse_intermixed_args` does, which calls this twice."""
        given = argparse.Namespace() if namespace is None else namespace
        if self._inside:
            return super().parse_known_args(args, given)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, given)
        finally:
            self._inside = False


def add_looking(add_parser: AddParser) -> None:
    """Add the four actions to `plantedge plc`."""
    read = _add(add_parser, "read", "read tags once; status 0 if all are Good")
    read.add_argument("tags", nargs="*", metavar="TAG", help=_TAG + "; without any, all of the list")
    read.add_argument("--json", action="store_true", help="for programs")
    watch = _add(add_parser, "watch", "read tags again and again, show what changes, sum up at the end")
    watch.add_argument("tags", nargs="*", metavar="TAG", help=_TAG + "; without any, all of the list")
    watch.add_argument("--period", type=_seconds, default=0.5, metavar="S", help="between two scans (0.5)")
    watch.add_argument("--for", dest="for_s", type=_seconds, default=0.0, metavar="S", help="end after S seconds")
    watch.add_argument("--count", type=_count, default=0, metavar="N", help="end after N scans")
    watch.add_argument("--json", action="store_true", help="a line of JSON for each scan, and one for the summary")
    write = _add(add_parser, "write", "write one tag through the running device, or past it with --direct")
    write.add_argument("tag", metavar="TAG", help="a tag of the list; with --direct also ADDRESS:TYPE")
    write.add_argument("value", metavar="VALUE", help="a number, true, false, text or [1, 2, 3]")
    write.add_argument(
        "--direct",
        action="store_true",
        help="for commissioning: write with the driver itself, past ownership and audit",
    )
    write.add_argument("--yes", action="store_true", help="don't ask before a direct write")
    write.add_argument("--force", default="", metavar="REASON", help="write although a running device holds the source")
    write.add_argument("--json", action="store_true", help="for programs; with --direct")
    browse = _add(add_parser, "browse", "list what the PLC itself offers: tags, nodes, blocks, or ranges that answer")
    browse.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="names or addresses like *Temp*")
    browse.add_argument("--depth", type=_count, default=8, metavar="N", help="levels of a tree of nodes (8)")
    browse.add_argument("--count", type=_count, default=2000, metavar="N", help="end after N finds (2000)")
    browse.add_argument(
        "--for", dest="for_s", type=_seconds, default=60.0, metavar="S", help="end after S seconds (60)"
    )
    browse.add_argument(
        "--numbers", type=_numbers, default=(), metavar="A-B,...", help="units (Modbus) or data blocks (S7) to try"
    )
    shape = browse.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="for programs: a line for each find")
    shape.add_argument("--csv", action="store_true", help="a tag list, as `plantedge plc check` takes it")
    browse.add_argument("--group", default="", metavar="G", help="with --csv: the poll group of all tags")


def look(given: argparse.Namespace) -> int:
    """Carry out one of the four actions."""
    import importlib

    run: Callable[[Any], int] = importlib.import_module(f"edge.commands.plc.{given.action}").run
    return run(given)


def _add(add_parser: AddParser, name: str, text: str) -> argparse.ArgumentParser:
    action = add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    action.add_argument(
        "--home", type=Path, default=argparse.SUPPRESS, help="a device folder; without it the demo line"
    )
    action.add_argument("target", metavar="PLC", help=_PLC)
    action.add_argument(
        "-o", "--option", action="append", default=[], metavar="KEY=VALUE", help="of the driver; may be repeated"
    )
    action.add_argument("--list", type=Path, dest="tag_list", metavar="FILE", help="a tag list for a URL")
    action.add_argument("--timeout-ms", type=_seconds, default=0.0, metavar="MS", help="how long an answer may take")
    return action


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not over 0 and at most 86400")
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not one of 1 to 1000000")
    return number


def _numbers(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) > 65_535:
            raise argparse.ArgumentTypeError(f"{part!r}: write numbers like 1-16 or 1,5,17, up to 65535")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))
