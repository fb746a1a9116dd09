"""A pipeline's metrics: Triton's counters, and a histogram per stage of a result's way.

Each answer counts as one success or one failure, so that their sum is the number of inputs. What an answer costs here
is measured in tests/bench/metrics.py (about 2 us; a frame takes 400).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.host import metric_names as names
from edge.inference.reasons import REASONS
from schemas.messages import Outcome, Quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.host.metrics import Counter, Histogram, Metrics
    from edge.inference.work import Answer
    from schemas.messages import Result

LATE: Final = "late"
OTHER: Final = "other"
_KNOWN: Final = frozenset((*REASONS, "engine_failed", "selftest"))


class _Version:
    """The counters of one version of a pipeline's model."""

    def __init__(self, metrics: Metrics, pipeline: str, model: str, version: str) -> None:
        """Make them."""
        self._metrics = metrics
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

    def __init__(self, metrics: Metrics, pipeline: str) -> None:
        """Make what does not depend on a model."""
        self._metrics, self._pipeline = metrics, pipeline
        self._ingest, self._queue, self._preprocess = (self._stage(s) for s in ("ingest", "queue", "preprocess"))
        self._infer, self._publish, self._total = (self._stage(s) for s in ("infer", "publish", "total"))
        self._batch = metrics.histogram(names.BATCH_SIZE, pipeline=pipeline)
        self._pending = metrics.gauge(names.PENDING, pipeline=pipeline)
        self._selftests = metrics.counter(names.SELFTESTS, pipeline=pipeline)
        self._versions: dict[tuple[str, str], _Version] = {}

    def _stage(self, stage: str) -> Histogram:
        return self._metrics.histogram(names.STAGE_SECONDS, pipeline=self._pipeline, stage=stage)

    def answered(self, answers: Sequence[Answer], now_ns: int) -> None:
        """Count answers whose decisions were handed to the bus at `now_ns`."""
        for answer in answers:
            result = answer.result
            version = self._versions.get((result.model, result.version)) or self._of(result)
            if result.outcome is Outcome.RESULT and result.quality is not Quality.BAD:
                version.success.inc()
            else:
                version.failure(_reason(result)).inc()
            if answer.batch:
                version.count.inc()
                if answer.row == 0:
                    version.executions.inc()
                    self._batch.observe(answer.batch)
                self._spent(version, result, (now_ns - answer.decision.trigger_ns) * 1e-6)

    def _spent(self, version: _Version, result: Result, total_ms: float) -> None:
        latency = result.latency
        publish_ms = max(0.0, total_ms - latency.total)
        self._ingest.observe(latency.ingest * 1e-3)
        self._queue.observe(latency.queue * 1e-3)
        self._preprocess.observe(latency.preprocess * 1e-3)
        self._infer.observe(latency.infer * 1e-3)
        self._publish.observe(publish_ms * 1e-3)
        self._total.observe(total_ms * 1e-3)
        version.request_us.inc((total_ms - latency.ingest) * 1e3)
        version.queue_us.inc(latency.queue * 1e3)
        version.input_us.inc(latency.preprocess * 1e3)
        version.infer_us.inc(latency.infer * 1e3)
        version.output_us.inc(publish_ms * 1e3)

    def _of(self, result: Result) -> _Version:
        made = _Version(self._metrics, self._pipeline, result.model, result.version)
        self._versions[result.model, result.version] = made
        return made

    def look(self, waiting: int, selftests: int) -> None:
        """Note what need not be noted at once."""
        self._pending.set(waiting)
        self._selftests.reach(selftests)


def _reason(result: Result) -> str:
    """Return one of a bounded set of words: a label must not grow with what others send."""
    if result.outcome is Outcome.LATE:
        return LATE
    word = result.reason.partition(":")[0]
    return word if word in _KNOWN else OTHER
