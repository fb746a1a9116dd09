"""mirror: what MES and SCADA see. In: raw, inference, event. Out: what its sinks make of them (`mes/...` by default).

It owns nothing: killed and started again, it goes on with the next message, and the retained topics stay.
"""

from __future__ import annotations

import asyncio

from bus import Delivery
from edge.audit.deeds import is_for_auditors
from edge.flow import Flow
from edge.process import Process
from edge.sinks import Sink, open_sink
from schemas.messages import Event, Reading, Result
from schemas.topics import EVENT, READING, RESULT


class Mirror:
    """Passes each message to every sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        """Start without having seen anything."""
        self.sinks = sinks
        self.seen = 0

    def reading(self, reading: Reading, _: Delivery) -> None:
        """Pass on one poll."""
        self.seen += 1
        for sink in self.sinks:
            sink.reading(reading)

    def result(self, result: Result, _: Delivery) -> None:
        """Pass on one result."""
        self.seen += 1
        for sink in self.sinks:
            sink.result(result)

    def event(self, event: Event, _: Delivery) -> None:
        """Pass on one event, but for those that auditors alone shall hear."""
        self.seen += 1
        if is_for_auditors(event.code):
            return
        for sink in self.sinks:
            sink.event(event)


async def _watch(process: Process, mirror: Mirror) -> None:
    """Say whether data flows, and what keeps a sink from passing it on."""
    flow = Flow(lambda: mirror.seen)
    while True:
        state, why = await flow.look()
        process.report(state, "; ".join(filter(None, (why, *(sink.trouble() for sink in mirror.sinks)))))


async def main(process: Process) -> None:
    """Run until cancelled."""
    mirror = Mirror([open_sink(name, process) for name in process.settings.mirror.sinks])
    await process.read(READING, Reading, mirror.reading)
    await process.read(RESULT, Result, mirror.result)
    await process.read(EVENT, Event, mirror.event)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch(process, mirror))
        for sink in mirror.sinks:
            tasks.create_task(sink.run())
