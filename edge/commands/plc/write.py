"""`plantedge plc write`: through the running device's write path, or by the driver itself while commissioning."""

from __future__ import annotations

import argparse
import json
import sys
import syslog
from collections.abc import Mapping

import msgspec
from rich.text import Text

from edge.commands.bus import value_of
from edge.commands.bus import write as write_on_bus
from edge.commands.plc.held import holder
from edge.commands.plc.shown import clean, console, value_text
from edge.commands.plc.target import Target, connected, scan, tags_of, target_of
from edge.connectors import Connector
from edge.plc.outputs.write_rules import same_value
from edge.plc.tags.lists import coerce
from edge.plc.tags.tag import Access, Native, Tag
from edge.supervision.run_state import command_name
from schemas.errors import StartError, TagError
from schemas.fields import Value
from schemas.messages import Quality, Sample

PAST = "This goes past PlantEdge: no ownership, no rate limit, no fail-safe, and no audit but the system's log."


def run(given: argparse.Namespace) -> int:
    """Write one tag; 0 if the PLC holds the value now.

    Raises:
        PlantEdgeError: it was not written, or whether it was is not known; with the reason.
    """
    if given.direct:
        return _direct(given)
    if "://" in given.target:
        raise StartError(
            f"{given.target} is no source of a device, so no write path guards it; --direct writes by the driver itself"
        )
    if given.yes or given.force:
        raise StartError("--yes and --force are for --direct; a write through the device needs neither")
    return write_on_bus(given.home, given.target, given.tag, given.value)


def _direct(given: argparse.Namespace) -> int:
    target = target_of(given)
    (tag, *others) = tags_of(target, [given.tag], Access.WRITE)
    if others:
        raise StartError(f"{given.tag!r} means {1 + len(others)} tags; one is written at a time")
    if tag.access is not Access.WRITE:
        raise StartError(f"{tag.name} is read only in the tag list; give it access rw there")
    wanted = _wanted(tag, given.value)
    held = holder(target)
    if held and not given.force.strip():
        raise StartError(
            f"{held} holds this PLC, and may write at the same time; `{command_name()} plc write {given.target} "
            f"{given.tag} {given.value}` writes through it, --force REASON past it"
        )
    with connected(target, [tag]) as connector:
        before = _read(connector, tag)
        if not given.yes and not _agreed(target, tag, before, wanted, held):
            print("not written", file=sys.stderr)
            return 1
        if given.yes:
            print(PAST, file=sys.stderr)
        _log(target, tag, given.force, held)
        connector.write(tag, wanted)
        after = _read(connector, tag)
    return _told(target, tag, (before, wanted, after), as_json=given.json)


def _wanted(tag: Tag, text: str) -> Native:
    """Return the value within the tag's range, and say where it was clamped to it."""
    told = value_of(text)
    try:
        value: Value = msgspec.convert(text if tag.form.length and not isinstance(told, str) else told, Value)
    except msgspec.ValidationError as error:
        raise TagError(f"{tag.name}: {text!r} is no value; write a number, true, false, text or [1, 2, 3]") from error
    wanted = coerce(tag, value)
    if tag.form.numeric and wanted != value:
        print(f"clamped to {value_text(tag, wanted)} {tag.unit}".rstrip(), file=sys.stderr)
    return wanted


def _read(connector: Connector, tag: Tag) -> Sample:
    return scan(connector, [tag]).samples[tag.name]


def _agreed(target: Target, tag: Tag, before: Sample, wanted: Native, held: str) -> bool:
    """Say what is about to happen, and ask."""
    if not sys.stdin.isatty():
        raise StartError("nobody is here to ask (no terminal); --yes writes without asking")
    out = console()
    now = value_text(tag, before.value) if before.quality is not Quality.BAD else f"Bad, {clean(before.reason)}"
    out.print(f"{clean(tag.name)}  {clean(tag.address)}  {tag.type}  at {clean(target.where)}")
    out.print(f"{now} -> {value_text(tag, wanted)} {clean(tag.unit)}".rstrip())
    out.print(Text(PAST, style="yellow"))
    if held:
        out.print(Text(f"{held} holds this PLC as well.", style="bold red"))
    return input("Write it? Type yes: ").strip().lower() == "yes"


def _log(target: Target, tag: Tag, reason: str, held: str) -> None:
    """Leave a trace in the system's log, before anything is written; values are no matter of logs."""
    forced = f", although {held} holds it: {clean(reason)}" if held else ""
    syslog.openlog("plantedge", syslog.LOG_PID, syslog.LOG_USER)
    syslog.syslog(syslog.LOG_NOTICE, f"direct write to {clean(tag.name)} at {clean(target.where)}{forced}")


def _told(target: Target, tag: Tag, values: tuple[Sample, Native, Sample], *, as_json: bool) -> int:
    """Compare what was read back with what was written, and print it."""
    before, wanted, after = values
    same = after.quality is not Quality.BAD and same_value(tag, wanted, after.value)
    unit = f" {clean(tag.unit)}" if tag.unit else ""
    if as_json:
        told: Mapping[str, object] = {
            "tag": tag.name, "address": tag.address, "before": before.value, "wrote": wanted, "after": after.value,
            "quality": str(after.quality), "reason": after.reason, "done": same, "where": target.where,
        }  # fmt: skip
        print(json.dumps(told, ensure_ascii=False))
    elif same:
        was = value_text(tag, before.value) if before.quality is not Quality.BAD else "Bad"
        print(f"{clean(tag.name)}: {was} -> {value_text(tag, after.value)}{unit}, read back")
    if not same and not as_json:
        found = value_text(tag, after.value) if after.quality is not Quality.BAD else f"Bad, {clean(after.reason)}"
        print(
            f"{clean(tag.name)}: wrote {value_text(tag, wanted)}{unit}, read back {found}; the PLC's program may have "
            "written it as well",
            file=sys.stderr,
        )
    return 0 if same else 1
