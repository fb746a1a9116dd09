"""Says which parts are not whole: an event while there are any, and counters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from edge.history.reconciliation import Reconciliation
from edge.host import metric_names as names
from schemas.messages import Phase, Severity

if TYPE_CHECKING:
    from edge.history.reconciliation import Lack
    from edge.process import Process

_SOUND_S: Final = 10.0
_START_NS: Final = 10_000_000_000  # a device is ready by then, or says why not
_NAMED: Final = 20  # parts in one event


class ReconciliationVoice:
    """Speaks for a device's historian."""

    def __init__(self, process: Process) -> None:
        """Start with every part whole."""
        self.of = Reconciliation(process.settings.outputs, owed_from_ns=time.monotonic_ns() + _START_NS)
        self._process = process
        self._faulty_s: float | None = None
        self._total = 0

    def look(self) -> None:
        """Tell what has become overdue since the last look."""
        lacking = self.of.overdue(time.monotonic_ns())
        metrics, now_s = self._process.metrics, time.monotonic()
        for pipeline, (decisions, outputs) in self.of.counts().items():
            metrics.counter(names.PARTS, pipeline=pipeline, stage="decision").reach(decisions)
            metrics.counter(names.PARTS, pipeline=pipeline, stage="output").reach(outputs)
        for lack in lacking:
            metrics.counter(names.PARTS_UNRECONCILED, pipeline=lack.pipeline, lacks=lack.lacks).inc()
        if lacking:
            self._total += len(lacking)
            self._say(Phase.NEW if self._faulty_s is None else Phase.UPDATE, Severity.ALARM, told(lacking))
            self._faulty_s = now_s
        elif self._faulty_s is not None and now_s - self._faulty_s > _SOUND_S:
            self._faulty_s = None
            self._say(Phase.END, Severity.INFO, f"every part is whole for {_SOUND_S:g} s")
        self._process.counters["parts_unreconciled"] = self._total

    def _say(self, phase: Phase, severity: Severity, text: str) -> None:
        self._process.event("parts_unreconciled", phase, severity, text[:1000], parts=self._total)


def told(lacking: list[Lack]) -> str:
    """Return in words which parts lack what."""
    found: list[str] = []
    for pipeline, lacks in sorted({(lack.pipeline, lack.lacks) for lack in lacking}):
        parts = [lack.part_id for lack in lacking if (lack.pipeline, lack.lacks) == (pipeline, lacks)]
        named = [str(part) for part in parts if part is not None][:_NAMED]
        more = f" and {len(parts) - len(named)} more" if len(parts) > len(named) else ""
        found.append(f"{pipeline}: no {lacks} for part {', '.join(named) or 'unknown'}{more}")
    return "; ".join(found)
