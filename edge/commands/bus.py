"""What a person asks over the bus of a running device: `watch`, `config get|set`, `write`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import tomllib
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec

from bus import Bus, Delivery
from bus.codec import decode, encode
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.config.tree import Tree, is_tree
from edge.line.plan import CLI
from edge.line.tally import open_bus
from edge.settings import Settings, load_settings
from schemas.errors import BusError, BusRefused, CodecError, RequestTimeout, StartError
from schemas.messages import ConfigSet, ConfigState, Message, Reply, Value, Write
from schemas.topics import CONFIG_SET, CONFIG_STATE, PLANT, REPLY, WRITE, Codec, Topic, row_of

ANSWER_S = 5.0
APPLY_S = 30.0  # the agent waits until every process runs with the new values
RETAINED_S = 1.0
SHOWN_BYTES = 32


def _on_bus(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except RequestTimeout as error:
        raise StartError(f"{error}; is the process that answers running? see `plantedge status`") from error
    except BusRefused as error:
        raise StartError(str(error)) from error
    except BusError as error:
        raise StartError(f"{error}; does the device run? see `plantedge status`") from error


# --- watch ----------------------------------------------------------------------------------------------------------


def watch(home: Path | None, topic_filter: str, count: int = 0, for_s: float = 0.0) -> int:
    """Print messages whose topic matches a filter below the device's topics, until enough or for ever."""
    settings = load_settings(device_home(home))
    return _on_bus(_watch(settings, device_home(home), topic_filter, count, for_s))


async def _watch(settings: Settings, home: Path, topic_filter: str, count: int, for_s: float) -> int:
    prefix = PLANT.format(**settings.place.fields())
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
        await bus.subscribe(prefix + topic_filter.removeprefix(prefix), 0, show)
        try:
            async with asyncio.timeout(for_s or None):
                await enough.wait()
        except TimeoutError:
            pass
    return 0


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


# --- configuration --------------------------------------------------------------------------------------------------


def config_get(home: Path | None, section: str) -> int:
    """Print what the agent holds of a section, or of all: what was changed since the files were written."""
    settings = load_settings(device_home(home))

    async def work() -> int:
        async with open_bus(settings, device_home(home)) as bus:
            held = await _held(bus, settings)
        if section and section not in held:
            known = sorted(Settings.model_fields)
            if section not in known:
                near = nearest(section, known)
                raise StartError(
                    f"there is no section {section}; " + (f"did you mean {near}?" if near else ", ".join(known))
                )
            print(f"{section}: nothing was changed; it is as in the device's files")
            return 0
        for state in [held[section]] if section else held.values():
            values = json.dumps(state.values, ensure_ascii=False)
            print(
                f"{state.section} version {state.version} ({state.phase}, by {state.origin or 'the files'}): {values}"
            )
        if not held:
            print("nothing was changed; all is as in the device's files")
        return 0

    return _on_bus(work())


async def _held(bus: Bus, settings: Settings) -> dict[str, ConfigState]:
    """Return section -> what is retained of it."""
    found: dict[str, ConfigState] = {}

    def take(delivery: Delivery) -> None:
        try:
            state = decode(CONFIG_STATE, ConfigState, delivery.payload)
        except CodecError:
            return
        found[state.section] = state

    await bus.subscribe(CONFIG_STATE.filter(settings.place), 1, take)
    await asyncio.sleep(RETAINED_S)  # MQTT does not say when the last retained message has been sent
    return found


def config_set(home: Path | None, section: str | None, pairs: list[str]) -> int:
    """Ask the agent to change a section; it checks, applies and confirms, or returns to what was before."""
    if not section or not pairs:
        raise StartError("say what to set: plantedge config set SECTION KEY=VALUE ...")
    settings = load_settings(device_home(home))
    values = nested(pairs)

    async def work() -> int:
        async with open_bus(settings, device_home(home)) as bus:
            state = (await _held(bus, settings)).get(section)
            request = ConfigSet(request_id=uuid.uuid4().hex, base_version=state.version if state else 0, values=values)
            topic = CONFIG_SET.name(settings.place, section=section, origin=CLI)
            return await _ask(bus, settings, CONFIG_SET, topic, request, APPLY_S)

    return _on_bus(work())


def nested(pairs: list[str]) -> dict[str, object]:
    """Return `a.b=1` pairs as tables; a value is TOML, or text where it is none.

    Raises:
        StartError: a pair has no `=`, or two don't fit together.
    """
    whole: Tree = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise StartError(f"{pair!r} is not KEY=VALUE")
        *tables, last = key.split(".")
        table = whole
        for name in tables:
            inner: object = table.setdefault(name, Tree())
            if not is_tree(inner):
                raise StartError(f"{pair!r}: {name} has a value already")
            table = inner
        table[last] = value_of(text)
    return whole


def value_of(text: str) -> object:
    """Return a value written as TOML, the text itself where it is no TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# --- write ----------------------------------------------------------------------------------------------------------


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
            return await _ask(bus, settings, WRITE, topic, request, ANSWER_S)

    return _on_bus(work())


async def _ask(bus: Bus, settings: Settings, row: Topic, topic: str, request: Message, timeout_s: float) -> int:
    msgspec.structs.force_setattr(request, "epoch", time.time_ns())
    reply_to = REPLY.name(settings.place, origin=CLI)
    answer = await bus.request(topic, encode(row, request), reply_to=reply_to, timeout_s=timeout_s)
    reply = decode(REPLY, Reply, answer.payload)
    print(
        f"done: {reply.value!r}" if reply.ok else f"refused: {reply.reason}",
        file=sys.stdout if reply.ok else sys.stderr,
    )
    return 0 if reply.ok else 1
