"""A pipeline's counters: each answer once, whether counted at once or together, and its time in the right bucket."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.host.metric_file import MetricFile, MetricView
from edge.host.metric_names import STAGE_BUCKETS
from edge.host.metrics import Metrics
from edge.inference.gauges import NOTED, PipelineGauges
from edge.inference.work import Answer
from schemas.messages import Decision, Latency, Outcome, Proof, Quality, Result, Verdict

NO_TIME = Latency(ingest=0.0, queue=0.0, preprocess=0.0, infer=0.0, total=0.0)


def answer(
    outcome: Outcome = Outcome.RESULT, reason: str = "", *, latency: Latency = NO_TIME, batch: int = 1, row: int = 0,
    quality: Quality = Quality.GOOD, version: str = "1",
) -> Answer:  # fmt: skip
    """One answer whose trigger was at 0."""
    decision = Decision(
        pipeline="p", result_id="r", part_id=None, verdict=Verdict.UNKNOWN, proof=Proof.PART, boot="b", trigger_ns=0,
        deadline_ns=0,
    )  # fmt: skip
    result = Result(
        result_id="r", pipeline="p", input="i", source_epoch=1, source_seq=1, part_id=None, outcome=outcome,
        verdict=Verdict.UNKNOWN, label="", score=0.0, scores={}, quality=quality, reason=reason, latency=latency,
        deadline_ms=1.0, model="m", version=version, digest="", time_ns=0,
    )  # fmt: skip
    return Answer(decision, result, batch=batch, row=row)


class Counted:
    """Gauges with a file of their own; `later` keeps what is put off."""

    def __init__(self, folder: Path) -> None:
        self.later: list[Callable[[], None]] = []
        self.gauges = PipelineGauges(Metrics(MetricFile(folder / "it.bin", "it")), "p", self.later.append)
        self._view = MetricView(folder / "it.bin")

    def now(self) -> dict[str, list[float]]:
        """Series by name and what tells them apart."""
        return {
            ":".join((series.name.removeprefix("plantedge_inference_"), *series.values[1:])): self._view.values(series)
            for series in self._view.refresh()
        }


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def test_every_answer_is_one_success_or_one_failure(counted: Counted) -> None:
    dropped = {"batch": 0, "quality": Quality.BAD}
    counted.gauges.answered(
        [
            answer(),
            answer(quality=Quality.UNCERTAIN, reason="held"),
            answer(Outcome.LATE),
            answer(Outcome.DROPPED, "expired", **dropped),
            answer(Outcome.DROPPED, "bad_quality: the lens is covered", **dropped),
            answer(Outcome.DROPPED, "anything that another wrote", **dropped),
            answer(reason="engine_failed: out of memory", quality=Quality.BAD),
            answer(reason="selftest: differs", quality=Quality.BAD),
        ],
        0,
    )  # fmt: skip
    counted.gauges.settle()
    found = counted.now()
    assert found["request_success:m:1"] == [2]
    reasons = ("late", "expired", "bad_quality", "other", "engine_failed", "selftest")
    assert {reason: found[f"request_failure:m:1:{reason}"] for reason in reasons} == {key: [1] for key in reasons}
    assert found["count:m:1"] == [5]  # those that were run


def test_a_batch_is_one_execution(counted: Counted) -> None:
    counted.gauges.answered([answer(batch=3, row=row) for row in range(3)] + [answer()], 0)
    counted.gauges.settle()
    found = counted.now()
    assert (found["count:m:1"], found["exec_count:m:1"]) == ([4], [2])
    assert found["batch_size"][:3] == [1, 0, 1]


def test_each_stage_has_its_time(counted: Counted) -> None:
    latency = Latency(ingest=0.1, queue=0.04, preprocess=2.0, infer=0.2, total=2.5)
    counted.gauges.answered([answer(latency=latency)], 3_000_000)
    counted.gauges.settle()
    found = counted.now()
    spent_ms = {"ingest": 0.1, "queue": 0.04, "preprocess": 2.0, "infer": 0.2, "publish": 0.5, "total": 3.0}
    for stage, milliseconds in spent_ms.items():
        *buckets, total = found[f"stage_seconds:{stage}"]
        assert total == pytest.approx(milliseconds / 1e3)
        bound = min(bound for bound in STAGE_BUCKETS if bound >= milliseconds / 1e3)
        assert buckets.index(1.0) == STAGE_BUCKETS.index(bound)
    microseconds = ("request", 2900), ("queue", 40), ("compute_input", 2000), ("compute_infer", 200)
    for name, wanted in (*microseconds, ("compute_output", 500)):
        assert found[f"{name}_duration_us:m:1"] == [pytest.approx(wanted)]


def test_versions_are_counted_apart(counted: Counted) -> None:
    counted.gauges.answered([answer(version="1"), answer(version="2"), answer(version="2")], 0)
    counted.gauges.settle()
    found = counted.now()
    assert (found["request_success:m:1"], found["request_success:m:2"]) == ([1], [2])
    assert sum(found["stage_seconds:total"][:-1]) == 3


def test_answers_are_counted_after_they_were_sent(counted: Counted) -> None:
    for _ in range(NOTED - 1):
        counted.gauges.answered([answer()], 0)
    assert (counted.later, "request_success:m:1" in counted.now()) == ([], False)
    counted.gauges.answered([answer()], 0)
    (settle,) = counted.later
    counted.gauges.answered([answer()], 0)  # before the loop came to it
    assert len(counted.later) == 1
    settle()
    assert counted.now()["request_success:m:1"] == [NOTED + 1]


def test_a_look_counts_what_was_noted(counted: Counted) -> None:
    counted.gauges.answered([answer()], 0)
    counted.gauges.look(waiting=4, selftests=2)
    found = counted.now()
    assert (found["request_success:m:1"], found["pending_request_count"], found["selftests"]) == ([1], [4], [2])


@given(st.lists(st.floats(0, 3000), min_size=1, max_size=40))
def test_counted_together_is_counted_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, infer_ms: list[float]
) -> None:
    together, single = Counted(tmp_path_factory.mktemp("a")), Counted(tmp_path_factory.mktemp("b"))
    answers = [answer(latency=Latency(ingest=0, queue=0, preprocess=0, infer=one, total=0)) for one in infer_ms]
    together.gauges.answered(answers, 0)
    together.gauges.settle()
    for one in answers:
        single.gauges.answered([one], 0)
        single.gauges.settle()
    one_by_one = single.now()
    for name, values in together.now().items():
        assert values == pytest.approx(one_by_one[name])
    *buckets, _ = one_by_one["stage_seconds:infer"]
    reached = [sum(one / 1e3 <= bound for one in infer_ms) for bound in (*STAGE_BUCKETS, float("inf"))]
    assert [sum(buckets[: index + 1]) for index in range(len(buckets))] == reached
