"""The historian's metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.host import metric_names as names

if TYPE_CHECKING:
    from edge.history.forward import ForwardState
    from edge.history.keeper import EvidenceKeeper
    from edge.host.metrics import Metrics


class HistorianGauges:
    """What is stored, how long that takes, and how far the archive is behind."""

    def __init__(self, metrics: Metrics) -> None:
        """Make the series."""
        self.commit = metrics.histogram(names.COMMIT_SECONDS)
        self._rows, self._repeats = metrics.counter(names.ROWS), metrics.counter(names.ROW_REPEATS)
        self._dropped = metrics.counter(names.READINGS_DROPPED)
        self._queue = metrics.gauge(names.HISTORIAN_QUEUE)
        self._kept, self._not_kept = (metrics.counter(row) for row in (names.EVIDENCE_KEPT, names.EVIDENCE_DROPPED))
        self._evidence_bytes = metrics.gauge(names.EVIDENCE_BYTES)
        self._archived, self._refused = (metrics.counter(row) for row in (names.ARCHIVED, names.ARCHIVE_REFUSED))
        self._lost = metrics.counter(names.ARCHIVE_LOST)
        self._behind, self._lag = (metrics.gauge(row) for row in (names.ARCHIVE_BEHIND, names.ARCHIVE_LAG_SECONDS))

    def stored(self, rows: int, repeats: int, dropped: int, waiting: int) -> None:
        """Show what the store has taken."""
        self._rows.reach(rows)
        self._repeats.reach(repeats)
        self._dropped.reach(dropped)
        self._queue.set(waiting)

    def evidence(self, keeper: EvidenceKeeper) -> None:
        """Show what the ring has taken."""
        self._kept.reach(keeper.kept)
        self._not_kept.reach(keeper.dropped + keeper.failed)
        self._evidence_bytes.set(keeper.used_bytes)

    def archive(self, state: ForwardState) -> None:
        """Show what the archive has taken."""
        self._archived.reach(state.written)
        self._refused.reach(state.refused)
        self._lost.reach(state.lost)
        self._behind.set(state.behind)
        self._lag.set(time.monotonic() - state.failing_since if state.failing_since else 0.0)
