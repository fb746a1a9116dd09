"""`plantedge plc read`: tags of a PLC, once, by its driver."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from edge.commands.plc.shown import clean, clock, console, iso, quality_text, sample_json, table, value_text
from edge.commands.plc.target import Scan, Target, connected, scan, tags_of, target_of
from edge.plc.tags.tag import Tag

HEADS = ("tag", "address", "value", "unit", "time", "quality")


def run(given: argparse.Namespace) -> int:
    """Print the tags; 0 if all are Good.

    Raises:
        PlantEdgeError: no such source, tag or address, or the PLC can't be reached.
    """
    target = target_of(given)
    tags = tags_of(target, given.tags)
    with connected(target, tags) as connector:
        found = scan(connector, tags)
    if given.json:
        print(json.dumps(as_json(target, tags, found), ensure_ascii=False))
    else:
        show(target, tags, found)
    return 0 if found.good else 1


def as_json(target: Target, tags: Sequence[Tag], found: Scan) -> dict[str, object]:
    """Return a scan for programs."""
    return {
        "source": target.name, "driver": target.source.driver, "time": iso(found.time_ns),
        "scan_ms": round(found.took_ms, 3),
        "tags": [sample_json(tag, found.samples[tag.name], found.times_ns[tag.name]) for tag in tags],
    }  # fmt: skip


def show(target: Target, tags: Sequence[Tag], found: Scan) -> None:
    """Print a scan as a table."""
    out = console()
    rows = [row(tag, found) for tag in tags]
    for line in table(HEADS, rows, right=("value",)):
        out.print(line)
    counts = Counter(str(sample.quality).capitalize() for sample in found.samples.values())
    told = ", ".join(f"{count} {quality}" for quality, count in counts.items())
    out.print(Text(f"{clean(target.where)}: {told}; {found.took_ms:.1f} ms", style="dim"))


def row(tag: Tag, found: Scan) -> tuple[str | Text, ...]:
    """Return a tag's cells; its address only where it is not its name."""
    sample = found.samples[tag.name]
    address = "" if tag.name.startswith(tag.address) else clean(tag.address)
    value = value_text(tag, sample.value)
    return clean(tag.name), address, value, clean(tag.unit), clock(found.times_ns[tag.name]), quality_text(sample)
