"""A pipeline's metrics: Triton's counters, and a histogram per stage of a result's way.

Each answer counts as one success or one failure, so that their sum is the number of inputs. An answer is only noted
where it is sent: counting it there took 8 us of a frame's 400 (2.5 us where the caches are warm), before its decision
was on the wire. What was noted is counted together, between two turns of the loop (tests/bench/metrics.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge.host import metric_names as names
from edge.inference.reasons import ENGINE_FAILED, LATE, OTHER, REASONS, SELFTEST
from schemas.messages import Outcome, Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge.host.metrics import Counter, Histogram, Metrics
    from edge.inference.work import Answer
    from schemas.messages import Result

NOTED: Final = 256  # answers that are counted together at the latest
STAGES: Final = ("ingest", "queue", "preprocess", "infer", "publish", "total")
_KNOWN: Final = frozenset((*REASONS, ENGINE_FAILED, SELFTEST))
_STAGE_BOUNDS: Final = np.array(names.STAGE_SECONDS.buckets)
_BATCH_BOUNDS: Final = np.array(names.BATCH_SIZE.buckets)


class _Version:
    """The counters of one version of a pipeline's model."""

    def __init__(self, metrics: Metrics, pipeline: str, model: str, version: str) -> None:
        """Make them."""
        self._metrics, self.model, self.version = metrics, model, version
        self._labels = {"pipeline": pipeline, "model": model, "version": version}
        self.success = self._counter(names.REQUEST_SUCCESS)
        self.count = self._counter(names.INFERENCE_COUNT)
        self.executions = self._counter(names.EXEC_COUNT)
        self.request_us = self._counter(names.REQUEST_US)
        self.queue_us = self._counter(names.QUEUE_US)
        self.input_us = self._counter(names.COMPUTE_INPUT_US)
        self.infer_us = self._counter(names.COMPUTE_INFER_US)
        self.output_us = self._counter(names.COMPUTE_OUTPUT_US)

    def _counter(self, row: names.Metric) -> Counter:
        return self._metrics.counter(row, **self._labels)

    def failure(self, reason: str) -> Counter:
        """Return the counter of one reason."""
        return self._metrics.counter(names.REQUEST_FAILURE, **self._labels, reason=reason)


class PipelineGauges:
    """What a runtime counts of one pipeline."""

    def __init__(self, metrics: Metrics, pipeline: str, later: Callable[[Callable[[], None]], object]) -> None:
        """`later` calls what it is given once the loop has sent what there is to send."""
        self._metrics, self._pipeline, self._later = metrics, pipeline, later
        self._stages = [metrics.histogram(names.STAGE_SECONDS, pipeline=pipeline, stage=stage) for stage in STAGES]
        self._batch = metrics.histogram(names.BATCH_SIZE, pipeline=pipeline)
        self._pending = metrics.gauge(names.PENDING, pipeline=pipeline)
        self._selftests = metrics.counter(names.SELFTESTS, pipeline=pipeline)
        self._versions: dict[tuple[str, str], _Version] = {}
        self._noted: list[tuple[Result, int, int, int]] = []  # result, ns to published, batch, row: no large arrays

    def answered(self, answers: Sequence[Answer], now_ns: int) -> None:
        """Note answers whose decisions were handed to the bus at `now_ns`."""
        noted = self._noted
        for answer in answers:
            noted.append((answer.result, now_ns - answer.decision.trigger_ns, answer.batch, answer.row))
            if len(noted) == NOTED:
                self._later(self.settle)

    def settle(self) -> None:
        """Count what was noted."""
        noted, self._noted = self._noted, []
        spent_ms: dict[_Version, list[float]] = {}
        batches: list[int] = []
        version: _Version | None = None
        for result, total_ns, batch, row in noted:
            if version is None or result.version != version.version or result.model != version.model:
                version = self._versions.get((result.model, result.version)) or self._of(result)
            if result.outcome is Outcome.RESULT and result.quality is not Quality.BAD:
                version.success.inc()
            else:
                version.failure(_reason(result)).inc()
            if batch:
                if row == 0:
                    version.executions.inc()
                    batches.append(batch)
                spent, total_ms = result.latency, total_ns * 1e-6
                spent_ms.setdefault(version, []).extend(
                    (spent.ingest, spent.queue, spent.preprocess, spent.infer, total_ms - spent.total, total_ms)
                )
        if batches:
            _merge(self._batch, np.array(batches, dtype=np.float64), _BATCH_BOUNDS)
        for ran, flat in spent_ms.items():
            self._spent(ran, np.array(flat).reshape(-1, len(STAGES)))

    def _spent(self, version: _Version, spent_ms: NDArray[np.float64]) -> None:
        """Count the runs of one version: a row per input, a column per stage."""
        version.count.inc(len(spent_ms))
        for stage, column in zip(self._stages, spent_ms.T / 1e3, strict=True):
            _merge(stage, column, _STAGE_BOUNDS)
        ingest, queue, preprocess, infer, publish, total = (spent_ms.sum(axis=0) * 1e3).tolist()
        version.request_us.inc(total - ingest)
        version.queue_us.inc(queue)
        version.input_us.inc(preprocess)
        version.infer_us.inc(infer)
        version.output_us.inc(publish)

    def _of(self, result: Result) -> _Version:
        made = _Version(self._metrics, self._pipeline, result.model, result.version)
        self._versions[result.model, result.version] = made
        return made

    def look(self, waiting: int, selftests: int) -> None:
        """Count what was noted, and show what need not be shown at once."""
        self.settle()
        self._pending.set(waiting)
        self._selftests.reach(selftests)


def _merge(histogram: Histogram, values: NDArray[np.float64], bounds: NDArray[np.float64]) -> None:
    below = np.searchsorted(np.sort(values), bounds, side="right")  # how many are up to each bound
    histogram.merge(np.diff(below, prepend=0, append=len(values)).tolist(), float(values.sum()))


def _reason(result: Result) -> str:
    """Return one of a bounded set of words: a label must not grow with what others send."""
    if result.outcome is Outcome.LATE:
        return LATE
    word = result.reason.partition(":")[0]
    return word if word in _KNOWN else OTHER
