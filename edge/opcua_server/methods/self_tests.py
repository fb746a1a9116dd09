"""Carries out the method SelfTest: asks the runtimes of a model, and answers with the worst of what they found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from asyncua.ua.status_codes import StatusCodes

from edge.models.self_test_client import ask_self_tests, worst_of
from edge.opcua_server.methods.calls import Outcome
from edge.process import Process
from schemas.errors import BusDisconnected, BusRefused, CodecError, RequestTimeout
from schemas.fields import Value
from schemas.self_test import SelfTestCode, SelfTestReport

ANSWER_S: Final = 10.0  # about what OPC UA clients wait; a load takes tenths of seconds
STATUS: Final[Mapping[SelfTestCode, int]] = MappingProxyType({
    SelfTestCode.DONE: StatusCodes.Good, SelfTestCode.BUSY: StatusCodes.BadTooManyOperations,
    SelfTestCode.LOADING: StatusCodes.BadInvalidState, SelfTestCode.NOT_SERVED: StatusCodes.BadNotFound,
})  # fmt: skip


async def carry_self_test(process: Process, model: str, _user: str, _inputs: Sequence[Value]) -> Outcome:
    """Return what became of a test of a model."""
    if not process.bus.connected:
        return Outcome(StatusCodes.BadNoCommunication)
    try:
        reports = await ask_self_tests(
            process.bus, process.settings, model, origin=process.identity, timeout_s=ANSWER_S
        )
    except (BusDisconnected, BusRefused):
        return Outcome(StatusCodes.BadNoCommunication)
    except RequestTimeout:
        return Outcome(StatusCodes.BadTimeout)
    except CodecError:
        return Outcome(StatusCodes.BadUnexpectedError)
    return outcome_of(worst_of(reports))


def outcome_of(report: SelfTestReport) -> Outcome:
    """Return a report as the method gives it (`fields.SELF_TEST`)."""
    if report.code is not SelfTestCode.DONE:
        return Outcome(STATUS[report.code])
    deviation = math.nan if report.deviation is None else report.deviation
    return Outcome(StatusCodes.Good, (
        report.passed, report.vectors, deviation, report.took_ms, report.digest, report.version, report.process,
        report.reason,
    ))  # fmt: skip
