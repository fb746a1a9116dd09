"""Asks the runtimes that serve a model to test it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from bus.codec import decode, encode
from edge.processes import RUNTIME
from schemas.self_test import SelfTest, SelfTestCode, SelfTestReport
from schemas.topics import SELF_TEST, SELF_TEST_REPORT

if TYPE_CHECKING:
    from bus import Bus
    from edge.settings import Settings


def runtimes_of(settings: Settings, model: str) -> list[str]:
    """Return the runtimes whose pipelines name a model, by their identities."""
    lanes = {pipeline.lane for pipeline in settings.pipelines.values() if model in pipeline.models}
    return sorted(RUNTIME.identity(lane) for lane in lanes)


async def ask_self_tests(
    bus: Bus, settings: Settings, model: str, *, origin: str, timeout_s: float
) -> list[SelfTestReport]:
    """Return the report of each runtime of a model, of which there is one at least. `origin`: who asks.

    Raises:
        BusError: the broker or a runtime does not answer.
        CodecError: an answer can't be read.
    """

    async def ask(process: str) -> SelfTestReport:
        request = SelfTest(epoch=time.time_ns(), seq=1, request_id=uuid4().hex, model=model)
        answer = await bus.request(
            SELF_TEST.name(settings.place, process=process, origin=origin), encode(SELF_TEST, request),
            reply_to=SELF_TEST_REPORT.name(settings.place, origin=origin), timeout_s=timeout_s,
        )  # fmt: skip
        return decode(SELF_TEST_REPORT, SelfTestReport, answer.payload)

    return list(await asyncio.gather(*(ask(process) for process in runtimes_of(settings, model))))


def worst_of(reports: list[SelfTestReport]) -> SelfTestReport:
    """Return the report that counts for a device: one that was refused, else one that failed, else the farthest off.

    Raises:
        ValueError: no reports.
    """
    return max(reports, key=lambda one: (one.code is not SelfTestCode.DONE, not one.passed, one.deviation or 0.0))
