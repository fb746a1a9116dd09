"""hmi: the page for the operators of the line, on the device. In: frame, inference, output, insight, event, status.

Out: an event per judgement. Pictures stay in its memory and on its page; it listens on loopback unless the settings say
otherwise. What each of its files does stands in `edge/operator_page/`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from edge.audit.denials import Denials
from edge.flow import Flow
from edge.host.web import listen, serve
from edge.operator_page.page import OperatorPage
from edge.operator_page.people import People
from edge.operator_page.replays import Replays
from edge.operator_page.store import PageStore
from edge.operator_page.web import CONNECTIONS, PatientProtocol, application
from edge.process import Process
from schemas.errors import SettingsError
from schemas.messages import Event, Frame, Insight, Output, Result, Status
from schemas.topics import EVENT, FRAME, INSIGHT, OUTPUT, RESULT, STATUS


async def _attach(process: Process, page: OperatorPage, stack: AsyncExitStack) -> None:
    """Read what the page shows; frames come by a connection of their own."""
    for pipeline in page.stations:
        await process.read(RESULT, Result, lambda result, _: page.result(result), pipeline=pipeline)
        await process.read(OUTPUT, Output, lambda output, _: page.output(output), pipeline=pipeline)
        await process.read(INSIGHT, Insight, lambda insight, _: page.insight(insight), pipeline=pipeline)
    await process.read(STATUS, Status, lambda status, _: page.status(status))
    await process.read(EVENT, Event, lambda event, _: page.event(event))
    if page.streams:
        bulk = await stack.enter_async_context(process.connection("frames"))
        for stream in page.streams:
            await process.read(FRAME, Frame, lambda frame, _: page.frame(frame), bus=bulk, stream=stream)


async def _watch(process: Process, page: OperatorPage) -> None:
    """Say whether data flows."""
    flow = Flow(lambda: page.heard)
    while True:
        process.report(*await flow.look())


async def main(process: Process) -> None:
    """Run until cancelled."""
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a broken request is not ours to log, one line each
    settings = process.settings
    if settings.hmi is None:
        raise SettingsError([f"{process.home}/device.toml has no [hmi]; write that table to have the operators' page"])
    hmi = settings.hmi
    with (
        listen(hmi.host, hmi.port, "the operators' page", "hmi") as listener,
        ThreadPoolExecutor(1, "hmi-store") as thread,
    ):
        store = PageStore(process.home)
        try:
            page = OperatorPage(process, hmi, store, thread)
            users, denied = hmi.users or settings.opcua.users, Denials(process).tell
            people = People(hmi, users, process.home, store, page.stored, denied)
            app = application(page, people, Replays(process.home), process.place)
            async with AsyncExitStack() as stack:
                await _attach(process, page, stack)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(page.keep_time(), name="time")
                    tasks.create_task(_watch(process, page), name="watch")
                    tasks.create_task(serve(app, listener, PatientProtocol, CONNECTIONS, keep_alive_s=30), name="serve")
        finally:
            store.close()
