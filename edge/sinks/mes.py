"""JSON for MES and SCADA on `mes/...` of the device's broker: results at once, tags coalesced, events at once."""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

from bus.typed import Publisher
from edge.host import metric_names as names
from edge.mes.messages import mes_event, mes_result
from edge.mes.tag_changes import Key, TagChanges
from edge.plc.tags.lists import source_tags
from edge.process import Process
from schemas.errors import Oversized
from schemas.messages import Event, MesEvent, MesResult, Message, MesTag, Reading, Result
from schemas.topics import MES_EVENT, MES_RESULT, MES_TAG, slug

M = TypeVar("M", bound=Message)


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

    def trouble(self) -> str:
        """Nothing does: the device's own broker is the process's."""
        return ""

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
