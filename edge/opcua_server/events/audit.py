"""Tells what OPC UA clients do as events of the device (`deeds` says who hears of them)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from asyncua import ua

from edge.audit.deeds import ALARM_HANDLED, METHOD_CALLED
from edge.process import Process
from schemas.fields import Value
from schemas.messages import Phase, Severity


class Audit:
    """Tells on the bus what clients did: the historian keeps it."""

    def __init__(self, process: Process) -> None:
        """Speak as `process`."""
        self._process = process

    def alarm_handled(self, action: str, alarm: str, by: str, comment: str) -> None:
        """Tell what was done with an alarm."""
        self._process.event(
            ALARM_HANDLED, Phase.NEW, Severity.INFO, f"{alarm}: {action} by {by}"[:1000],
            key=f"{ALARM_HANDLED}-{uuid4().hex}", alarm=alarm, action=action, by=by[:64], comment=comment,
        )  # fmt: skip

    def method_called(self, method: str, by: str, inputs: Sequence[Value], code: int) -> None:
        """Tell of a call that was allowed, and what it was answered with."""
        said = ", ".join(str(one)[:128] for one in inputs)
        status = ua.StatusCode(ua.UInt32(code)).name
        self._process.event(
            METHOD_CALLED, Phase.NEW, Severity.INFO, f"{method}({said}) called by {by}: {status}"[:1000],
            key=f"{METHOD_CALLED}-{uuid4().hex}", method=method, by=by[:64], inputs=said, status=status,
        )  # fmt: skip
