"""`plantedge watch`: messages of the bus as they come, readable without their schemas."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import msgpack  # type: ignore[import-untyped]  # it ships no types

from bus import Delivery
from edge.commands.bus import on_bus
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.line.tally import open_bus
from edge.settings import Settings, load_settings
from schemas.errors import StartError
from schemas.topics import PLANT, TOPICS, Codec, Reach, Role, Topic, row_of

SHOWN_BYTES = 32
_ANY = "+"


def watch(home: Path | None, topic_filter: str, count: int = 0, for_s: float = 0.0) -> int:
    """Print messages whose topic matches a filter below the device's topics, until enough or for ever."""
    settings = load_settings(device_home(home))
    prefix = PLANT.format(**settings.place.fields())
    wanted = topic_filter.removeprefix(prefix)
    if kept := kept_from_us(wanted):
        print(f"plantedge watch: {kept}", file=sys.stderr)
    return on_bus(_watch(settings, device_home(home), prefix, wanted, count, for_s))


def kept_from_us(wanted: str) -> str:
    """Return what of a filter a person's account does not get, "" where it gets all or asks for everything there is.

    A broker grants the subscription all the same, and then delivers nothing.

    Raises:
        StartError: no topic matches, or none that a person may read.
    """
    rows = [row for row in TOPICS if row.reach is Reach.SITE and _meet(wanted, _below(row))]
    if not rows:
        raise StartError(f"no topic matches {wanted!r}; {_remedy(wanted)}")
    secret = [row for row in rows if Role.CLI not in row.readers]
    told = "; ".join(f"{_below(row)} goes to {', '.join(sorted(row.readers))} alone" for row in secret)
    if len(secret) == len(rows):
        ours = "inference/#, output/# and event/# tell what came of it" if rows[0].key in ("FRAME", "DECISION") else ""
        raise StartError(f"{told} (schemas/topics.py)" + (f"; {ours}" if ours else ""))
    return f"left out: {told}" if told and not wanted.startswith("#") else ""


def _remedy(wanted: str) -> str:
    patterns = [_below(row) for row in TOPICS if row.reach is Reach.SITE]
    first, known = wanted.partition("/")[0], sorted({pattern.partition("/")[0] for pattern in patterns})
    if first in known:
        return "there is " + ", ".join(pattern for pattern in patterns if pattern.startswith(f"{first}/"))
    near = nearest(first, known)
    return f"did you mean {near}?" if near else f"there are {', '.join(known)}"


def _below(row: Topic) -> str:
    return row.pattern.removeprefix(PLANT)


def _meet(wanted: str, pattern: str) -> bool:
    """Return whether some topic matches an MQTT filter and a row's pattern (MQTT 5, 4.7)."""
    left, right = wanted.split("/"), [_ANY if part.startswith("{") else part for part in pattern.split("/")]
    for position, part in enumerate(left):
        if part == "#":
            return len(right) >= position
        if position >= len(right) or (_ANY not in (part, right[position]) and part != right[position]):
            return False
    return len(left) == len(right)


async def _watch(settings: Settings, home: Path, prefix: str, wanted: str, count: int, for_s: float) -> int:
    enough, printed = asyncio.Event(), 0

    def show(delivery: Delivery) -> None:
        nonlocal printed
        if not enough.is_set():
            printed += 1
            kept = " (retained)" if delivery.retained else ""
            print(
                f"{delivery.topic.removeprefix(prefix)}{kept} {readable(delivery.topic, delivery.payload)}", flush=True
            )
        if printed == count:
            enough.set()

    async with open_bus(settings, home) as bus:
        await bus.subscribe(prefix + wanted, 0, show)
        try:
            async with asyncio.timeout(for_s or None):
                await enough.wait()
        except TimeoutError:
            pass
    if not printed:
        print(f"plantedge watch: nothing came on {wanted!r} within {for_s:g} s", file=sys.stderr)
    return 0 if printed else 1


def readable(topic: str, payload: bytes | memoryview) -> str:
    """Return a payload without knowing its schema: MessagePack and JSON as JSON, all else as its size."""
    data = bytes(payload)
    row = row_of(topic)
    try:
        if row is None or row.codec is Codec.JSON:
            return json.dumps(json.loads(data), ensure_ascii=False)
        # msgpack ships no types
        found = cast(object, msgpack.unpackb(data, raw=False, strict_map_key=False))  # pyright: ignore[reportUnknownMemberType]
        return json.dumps(found, ensure_ascii=False, default=_shown)
    except (ValueError, msgpack.UnpackException):
        return f"<{len(data)} bytes: {data[:SHOWN_BYTES]!r}>"


def _shown(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
