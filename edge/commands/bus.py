"""What a person asks over the bus of a running device, and `plantedge write`."""

from __future__ import annotations

import asyncio
import sys
import time
import tomllib
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from bus import Bus
from bus.codec import decode, encode
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.line.plan import CLI
from edge.line.tally import open_bus
from edge.settings import Settings, load_settings
from edge.supervision.run_state import command_name
from schemas.errors import BusError, BusRefused, RequestTimeout, StartError
from schemas.fields import Value
from schemas.messages import Message, Reply, Write
from schemas.topics import REPLY, WRITE, Topic

ANSWER_S = 5.0


def on_bus(work: Coroutine[Any, Any, int]) -> int:
    """Run what speaks on the bus.

    Raises:
        StartError: the broker or a process does not answer; with what to look at.
    """
    try:
        return asyncio.run(work)
    except RequestTimeout as error:
        raise StartError(f"{error}; is the process that answers running? see `{command_name()} status`") from error
    except BusRefused as error:
        raise StartError(str(error)) from error
    except BusError as error:
        raise StartError(f"{error}; does the device run? see `{command_name()} status`") from error


def value_of(text: str) -> object:
    """Return a value written as TOML, the text itself where it is no TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def write(home: Path | None, source: str, tag: str, text: str) -> int:
    """Write one tag and print what was read back."""
    settings = load_settings(device_home(home))
    if source not in settings.sources:
        near = nearest(source, settings.sources)
        raise StartError(
            f"there is no source {source}; " + (f"did you mean {near}?" if near else ", ".join(settings.sources))
        )
    value = msgspec.convert(value_of(text), Value)
    request = Write(request_id=uuid.uuid4().hex, tag=tag, value=value)

    async def work() -> int:
        async with open_bus(settings, device_home(home)) as bus:
            topic = WRITE.name(settings.place, source=source, origin=CLI)
            return await ask(bus, settings, WRITE, topic, request, timeout_s=ANSWER_S, done="done: {!r}")

    return on_bus(work())


async def ask(
    bus: Bus, settings: Settings, row: Topic, topic: str, request: Message, *, timeout_s: float, done: str
) -> int:
    """Send a request and print its answer: `done` with the reply's value in it, or why it was refused."""
    msgspec.structs.force_setattr(request, "epoch", time.time_ns())
    reply_to = REPLY.name(settings.place, origin=CLI)
    answer = await bus.request(topic, encode(row, request), reply_to=reply_to, timeout_s=timeout_s)
    reply = decode(REPLY, Reply, answer.payload)
    print(
        done.format(reply.value) if reply.ok else f"refused: {reply.reason}",
        file=sys.stdout if reply.ok else sys.stderr,
    )
    return 0 if reply.ok else 1
