"""JSON for MES and SCADA on `mes/...` of the device's broker: results at once, tags coalesced, events at once.

Times are ISO 8601 in UTC; integers over 2^53, which JavaScript and many MES can't hold, travel as strings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

from bus.typed import Publisher
from edge.host import metric_names as names
from edge.plc.tags.deadband import deadbands, moved
from edge.plc.tags.lists import Tag, source_tags
from edge.process import Process
from schemas.errors import Oversized
from schemas.messages import Event, MesEvent, MesResult, Message, MesTag, Quality, Reading, Result, Value
from schemas.topics import MES_EVENT, MES_RESULT, MES_TAG, slug

MAX_TAGS = 20_000
REFRESH_S = 60.0  # an unchanged tag is repeated this often, so that a reader sees that it is alive
_MAX_SAFE_INTEGER = 2**53
Key = tuple[str, str]  # source, tag
M = TypeVar("M", bound=Message)


def iso_time(time_ns: int) -> str:
    """Return a wall-clock time as ISO 8601 in UTC with milliseconds."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_safe(value: Value) -> Value:
    """Return `value` with integers over 2^53 as strings, also in lists."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) > _MAX_SAFE_INTEGER:
        return str(value)
    if isinstance(value, list) and any(isinstance(item, int) and abs(item) > _MAX_SAFE_INTEGER for item in value):
        return ",".join(str(item) for item in value)
    return value


def mes_result(result: Result) -> MesResult:
    """Return a result as MES and SCADA read it."""
    part = result.part_id
    return MesResult(
        time=iso_time(result.time_ns), result_id=result.result_id, pipeline=result.pipeline,
        part_id=str(part) if part is not None and part > _MAX_SAFE_INTEGER else part, verdict=result.verdict,
        label=result.label, score=result.score, quality=result.quality, late=result.outcome == "late",
        latency_ms=result.latency.total, model=result.model, version=result.version,
    )  # fmt: skip


def mes_event(event: Event) -> MesEvent:
    """Return an event as MES and SCADA read it."""
    return MesEvent(
        time=iso_time(event.time_ns), key=event.key, origin=event.origin, code=event.code, phase=event.phase,
        severity=event.severity, text=event.text,
    )  # fmt: skip


class TagChanges:
    """The newest value of each tag until the next tick, and which of them are told then."""

    def __init__(self, lists: Mapping[str, Mapping[str, Tag]]) -> None:
        """`lists` are the sources' tags, for units and deadbands."""
        self.refused = 0
        self._units = {(source, tag.name): tag.unit for source, tags in lists.items() for tag in tags.values()}
        self._deadbands = deadbands(lists)
        self._pending: dict[Key, MesTag] = {}
        self._told: dict[Key, tuple[Value, Quality, float]] = {}

    def take(self, reading: Reading) -> None:
        """Take a scan; tags past MAX_TAGS are refused and counted."""
        for name, sample in reading.tags.items():
            key = (reading.source, name)
            if key not in self._pending and len(self._pending) >= MAX_TAGS:
                self.refused += 1
                continue
            self._pending[key] = MesTag(
                time=iso_time(reading.time_ns), source=reading.source, tag=name, value=json_safe(sample.value),
                unit=self._units.get(key, ""), quality=sample.quality, reason=sample.reason,
            )  # fmt: skip

    def due(self, now_s: float) -> dict[Key, MesTag]:
        """Return the tags that are new, have moved, or are to be repeated; what has not moved is forgotten."""
        pending, self._pending = self._pending, {}
        return {key: tag for key, tag in pending.items() if self._is_due(key, tag, now_s)}

    def told(self, key: Key, tag: MesTag, now_s: float) -> None:
        """Know that a tag has been published."""
        self._told[key] = (tag.value, tag.quality, now_s)

    def _is_due(self, key: Key, tag: MesTag, now_s: float) -> bool:
        told = self._told.get(key)
        if told is None or told[1] is not tag.quality or now_s - told[2] >= REFRESH_S:
            return True
        return moved(told[0], tag.value, self._deadbands.get(key, 0.0))


class MesSink:
    """Publishes JSON; a tag at most `tag_hz` times a second, its newest value."""

    def __init__(self, process: Process) -> None:
        """Learn the tags' units from the sources' tag lists."""
        self._process = process
        self._refused = process.metrics.counter(names.MES_REFUSED)
        self._oversized = 0
        self._period_s = 1.0 / process.settings.mirror.tag_hz
        self._changes = TagChanges(source_tags(process.settings, process.home))
        self._results: dict[str, Publisher[MesResult]] = {}
        self._events: dict[str, Publisher[MesEvent]] = {}
        self._tags: dict[Key, Publisher[MesTag]] = {}

    def reading(self, reading: Reading) -> None:
        """Keep the newest value of each tag until the next tick."""
        self._changes.take(reading)
        self._count()

    def _send(self, publisher: Publisher[M], message: M) -> bool:
        """Publish; a text too long for a MES message is refused and counted."""
        try:
            return publisher.send(message)
        except Oversized:
            self._oversized += 1
            self._count()
            return False

    def _count(self) -> None:
        refused = self._changes.refused + self._oversized
        self._refused.reach(refused)
        if refused:
            self._process.counters["tags_refused"] = refused

    def result(self, result: Result) -> None:
        """Publish a result."""
        publisher = self._results.get(result.pipeline)
        if publisher is None:
            publisher = self._process.publisher(MES_RESULT, MesResult, pipeline=result.pipeline)
            self._results[result.pipeline] = publisher
        self._send(publisher, mes_result(result))

    def event(self, event: Event) -> None:
        """Publish an event under its code."""
        publisher = self._events.get(event.code)
        if publisher is None:
            publisher = self._events[event.code] = self._process.publisher(MES_EVENT, MesEvent, kind=event.code)
        self._send(publisher, mes_event(event))

    async def run(self) -> None:
        """Publish what changed, once per tick."""
        while True:
            await asyncio.sleep(self._period_s)
            self.publish_changed(time.monotonic())

    def publish_changed(self, now_s: float) -> int:
        """Publish each tag that is due; return how many."""
        count = 0
        for key, tag in self._changes.due(now_s).items():
            if self._send(self._tag_publisher(key), tag):
                self._changes.told(key, tag, now_s)
                count += 1
        return count

    def _tag_publisher(self, key: Key) -> Publisher[MesTag]:
        publisher = self._tags.get(key)
        if publisher is None:
            source, tag = key
            publisher = self._tags[key] = self._process.publisher(MES_TAG, MesTag, source=source, tag=slug(tag))
        return publisher


def open_sink(process: Process) -> MesSink:
    """Open the sink for a mirror process."""
    return MesSink(process)
