"""What counting costs the one who counts: an increment, an observation and a result, beside a store to a bare array.

The floor is one `+= 1.0` on an `array.array`. All are timed in turn, many rounds, in processor time of this thread, and
the medians told, so that each sees the same machine. The last line is JSON; the exit status is 1 if an increment or an
observation takes 1 us.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.host import metric_names as names
from edge.host.metric_file import MetricFile, look
from edge.host.metrics import Metrics
from edge.inference.gauges import PipelineGauges
from edge.inference.work import Answer
from edge.monitoring.exposition import Known, families, rendered
from schemas.messages import Decision, Latency, Outcome, Proof, Quality, Result, Verdict
from tests.bench.machine import described

LIMIT_NS = 1_000.0
PER_ROUND = 2_000
VALUE_S = 4.1e-4


def one_answer() -> Answer:
    """A result in time, of a batch of one."""
    decision = Decision(
        pipeline="inspect", result_id="r", part_id=1, verdict=Verdict.OK, proof=Proof.PART, boot="b",
        trigger_ns=time.monotonic_ns(), deadline_ns=0,
    )  # fmt: skip
    latency = Latency(ingest=0.1, queue=0.02, preprocess=0.01, infer=0.2, total=0.35)
    result = Result(
        result_id="r", pipeline="inspect", input="cam1", source_epoch=1, source_seq=1, part_id=1,
        outcome=Outcome.RESULT, verdict=Verdict.OK, label="ok", score=0.1, scores={}, quality=Quality.GOOD, reason="",
        latency=latency, deadline_ms=50.0, model="caps", version="1", digest="", time_ns=0,
    )  # fmt: skip
    return Answer(decision, result, batch=1)


def loops(metrics: Metrics) -> dict[str, Callable[[], int]]:
    """What is timed: each runs `PER_ROUND` times and returns the nanoseconds of all."""
    bare = array("d", bytes(8 * 64))
    counter = metrics.counter(names.BUS_CONNECTS)
    gauge = metrics.gauge(names.OUTBOX)
    histogram = metrics.histogram(names.STAGE_SECONDS, pipeline="inspect", stage="infer")
    gauges, answers = PipelineGauges(metrics, "inspect", lambda settle: settle()), [one_answer()]
    now_ns, bounds = time.monotonic_ns(), names.STAGE_BUCKETS

    def floor() -> int:
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            bare[5] += 1.0
        return time.thread_time_ns() - started

    def floor_of_observe() -> int:
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            bare[bisect_left(bounds, VALUE_S)] += 1.0
            bare[40] += VALUE_S
        return time.thread_time_ns() - started

    def inc() -> int:
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            counter.inc()
        return time.thread_time_ns() - started

    def put() -> int:
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            gauge.set(1.0)
        return time.thread_time_ns() - started

    def observe() -> int:
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            histogram.observe(VALUE_S)
        return time.thread_time_ns() - started

    def note() -> int:
        notes = PipelineGauges(metrics, "inspect", lambda _: None)
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            notes.answered(answers, now_ns)
        return time.thread_time_ns() - started

    def answer() -> int:
        started = time.thread_time_ns()
        for _ in range(PER_ROUND):
            gauges.answered(answers, now_ns)
        return time.thread_time_ns() - started

    return {
        "bare array": floor, "bare bisection and two": floor_of_observe, "counter.inc": inc, "gauge.set": put,
        "histogram.observe": observe, "a result noted": note, "a result noted and counted": answer,
    }  # fmt: skip


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Return nanoseconds of each, medians over the rounds."""
    metrics = Metrics(MetricFile(folder / "bench.bin", "bench"))
    timed = loops(metrics)
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 5):
        for name, run in timed.items():
            spent = run() / PER_ROUND
            if number >= 5:  # what comes before warms
                taken[name].append(spent)
    return {name: statistics.median(all_of_it) for name, all_of_it in taken.items()}


def scrape_ms(folder: Path, processes: int = 10) -> tuple[float, int]:
    """Return the monitor's time for a scrape of ten processes of a hundred series, and the text's size."""
    for number in range(processes):
        metrics = Metrics(MetricFile(folder / f"p{number}.bin", f"p{number}"))
        for stage in range(6):
            metrics.histogram(names.STAGE_SECONDS, pipeline="p", stage=str(stage)).observe(VALUE_S)
        for topic in range(24):
            for row in (names.BUS_GAPS, names.BUS_BAD, names.BUS_REPEATS, names.BUS_DROPPED):
                metrics.counter(row, topic=f"T{topic}").inc()
    views, times, size = look(folder, {}), [], 0
    for _ in range(7):
        started = time.thread_time()
        known = Known(views=views, statuses={}, ready=True, models={}, serving=[], monitor="monitor")
        size = len(rendered(families(known), "")[0])
        times.append((time.thread_time() - started) * 1e3)
    return statistics.median(times), size


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="./run bench metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="rounds over which medians are taken")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        found = measure(folder, arguments.rounds)
        scraped_ms, size = scrape_ms(folder)
    table = Table(title="nanoseconds each, medians")
    for column in ("what", "ns", "over a bare store"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, spent in found.items():
        table.add_row(what, f"{spent:.0f}", f"{spent / found['bare array']:.1f}")
    console.print(table)
    console.print(f"a scrape of ten processes, {size / 1e3:.0f} kB: {scraped_ms:.0f} ms of the monitor; {described()}")
    figures = {
        "store_ns": found["bare array"], "inc_ns": found["counter.inc"], "set_ns": found["gauge.set"],
        "observe_ns": found["histogram.observe"], "note_ns": found["a result noted"],
        "answer_ns": found["a result noted and counted"],
        "inc_ratio": found["counter.inc"] / found["bare array"],
        "observe_ratio": found["histogram.observe"] / found["bare bisection and two"], "scrape_ms": scraped_ms,
    }  # fmt: skip
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    return 0 if max(figures["inc_ns"], figures["observe_ns"]) < LIMIT_NS else 1


if __name__ == "__main__":
    sys.exit(main())
