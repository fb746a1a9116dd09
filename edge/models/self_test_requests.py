"""Requests to test a model that serves, from the bus: carried out one at a time, and answered to the one who asked."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from bus.codec import encode
from edge.models.self_test import check_again
from schemas.messages import Phase, Severity
from schemas.self_test import SelfTest, SelfTestCode, SelfTestReport
from schemas.topics import SELF_TEST, SELF_TEST_REPORT

if TYPE_CHECKING:
    from bus import Delivery
    from edge.models.slots import Slots
    from edge.process import Process

_REASON_LENGTH: Final = 1_000
Back = tuple[str, bytes]  # where the answer goes, and its correlation data


class SelfTestRequests:
    """Those to one runtime. A test runs in the thread that loads models, so that no load runs beside it."""

    def __init__(self, process: Process, slots: Slots) -> None:
        """Read nothing yet."""
        self._process, self._slots = process, slots
        self._epoch, self._seq = time.time_ns(), 0
        self._asked: asyncio.Queue[tuple[SelfTest, str, Back]] = asyncio.Queue(1)
        self._busy = False

    async def attach(self) -> None:
        """Subscribe."""
        await self._process.read(SELF_TEST, SelfTest, self._take, process=self._process.identity)

    def _take(self, request: SelfTest, delivery: Delivery) -> None:
        origin = (SELF_TEST.parse(delivery.topic) or {}).get("origin", "")
        if delivery.response_topic != SELF_TEST_REPORT.name(self._process.place, origin=origin):
            return  # nobody makes us publish anywhere but where that origin's answers go
        back = delivery.response_topic, bytes(delivery.correlation)
        refused = self._refused(request)
        if refused:
            self._send(refused, back)
            return
        self._busy = True
        self._asked.put_nowait((request, origin, back))

    def _refused(self, request: SelfTest) -> SelfTestReport | None:
        if self._busy:
            return self._report(request, SelfTestCode.BUSY, "another self-test is under way; ask again when it is over")
        if self._slots.loading:
            return self._report(request, SelfTestCode.LOADING, "a model is being loaded; ask again when it serves")
        if self._slots.serving(request.model) is None:
            return self._report(request, SelfTestCode.NOT_SERVED, f"no version of {request.model} serves here")
        return None

    async def run(self) -> None:
        """Carry out what was asked for, until cancelled."""
        while True:
            request, origin, back = await self._asked.get()
            try:
                report = await self._test(request)
            finally:
                self._busy = False
            self._send(report, back)
            self._tell(report, origin)

    async def _test(self, request: SelfTest) -> SelfTestReport:
        model = self._slots.serving(request.model)
        if model is None:
            return self._report(request, SelfTestCode.NOT_SERVED, f"no version of {request.model} serves here")
        found = await self._slots.aside(check_again, model)
        problem = found.problem or self._slots.unproven(request.model)
        return SelfTestReport(
            request_id=request.request_id, model=request.model, process=self._process.identity,
            code=SelfTestCode.DONE, passed=not problem, reason=problem[:_REASON_LENGTH],
            version=model.contract.version, digest=model.contract.sha256, vectors=found.vectors,
            deviation=found.deviation, tolerance=found.tolerance, took_ms=found.took_ms,
        )  # fmt: skip

    def _report(self, request: SelfTest, code: SelfTestCode, reason: str) -> SelfTestReport:
        return SelfTestReport(
            request_id=request.request_id, model=request.model, process=self._process.identity, code=code, reason=reason
        )

    def _send(self, report: SelfTestReport, back: Back) -> None:
        self._seq += 1
        payload = encode(SELF_TEST_REPORT, replace(report, epoch=self._epoch, seq=self._seq))
        self._process.bus.publish(back[0], payload, qos=SELF_TEST_REPORT.qos, correlation=back[1])

    def _tell(self, report: SelfTestReport, origin: str) -> None:
        """Say who had which model tested, and how it went: the historian keeps it."""
        if report.code is not SelfTestCode.DONE:
            return
        how = "passed" if report.passed else f"failed: {report.reason}"
        self._process.event(
            "model_tested", Phase.NEW, Severity.INFO if report.passed else Severity.ALARM,
            f"{report.model} {report.version}: the self-test that {origin} asked for {how}"[:_REASON_LENGTH],
            key=f"{self._process.identity}-{origin}-{report.request_id[:64]}", model=report.model, origin=origin,
            passed=report.passed, vectors=report.vectors, took_ms=report.took_ms,
        )  # fmt: skip
