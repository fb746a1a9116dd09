"""Ten seconds in one message, and the life of an alarm."""

import numpy as np
import pytest

from edge.config.pipeline import FrameInput
from edge.config.pipeline import Pipeline as PipelineSettings
from edge.inference.insights import AlarmWatch, Tally
from edge.inference.pipeline import Pipeline
from schemas.messages import Latency, Outcome, Phase, Quality, Result, Verdict

S = 1_000_000_000


@pytest.fixture
def pipeline():
    return Pipeline("inspect", PipelineSettings(model="caps", input=FrameInput(frames="cam1"), deadline_ms=50), "boot")


def result(verdict="ok", *, outcome="result", reason="", score=0.5, total_ms=1.0, seq=1, label=""):
    return Result(
        result_id=f"inspect-1-{seq}", pipeline="inspect", input="cam1", source_epoch=1, source_seq=seq, part_id=seq,
        outcome=Outcome(outcome), verdict=Verdict(verdict), label=label, score=score, scores={}, quality=Quality.GOOD,
        reason=reason, latency=Latency(ingest=0, queue=0, preprocess=0, infer=0, total=total_ms), deadline_ms=50,
        model="caps", version="1", digest="", time_ns=0,
    )  # fmt: skip


def test_a_window_accounts_for_every_input(pipeline):
    tally = Tally()
    for total_ms in range(1, 101):
        tally.add(result(total_ms=float(total_ms)))
    tally.add(result("nok", score=0.9, outcome="late", total_ms=200.0))
    tally.add(result("unknown", outcome="dropped", reason="bad_quality: Line.Speed bad in 1 of 4 readings"))
    tally.add(result("unknown", outcome="dropped", reason="expired"))
    tally.add(result("unknown", outcome="dropped", reason="expired"))
    insight = tally.insight(pipeline, 10.0, gaps=3)
    assert (insight.inputs, insight.results, insight.late, insight.gaps) == (104, 101, 1, 3)
    assert insight.inputs == insight.results + sum(insight.dropped.values())
    assert insight.dropped == {"bad_quality": 1, "expired": 2}
    assert insight.verdicts == {"ok": 100, "nok": 1}
    wanted = np.percentile([*range(1, 101), 200], [50, 99])
    assert (insight.p50_ms, insight.p99_ms, insight.max_ms) == (pytest.approx(wanted[0]), pytest.approx(wanted[1]), 200)
    assert insight.score_mean == pytest.approx((100 * 0.5 + 0.9) / 101)


def test_the_next_window_begins_empty(pipeline):
    tally = Tally()
    tally.add(result())
    tally.insight(pipeline, 10.0, gaps=0)
    insight = tally.insight(pipeline, 10.0, gaps=0)
    assert (insight.inputs, insight.p50_ms, insight.score_mean, insight.verdicts) == (0, 0, 0, {})


def test_an_alarm_is_new_once_updated_each_five_seconds_and_ended_once():
    watch = AlarmWatch()
    said = []
    scores = [0.1, 1.5, 2.5, *[1.2] * 12, 0.3, 0.2]
    for second, score in enumerate(scores):
        verdict = "nok" if score > 1 else "ok"
        said.append((second, watch.see(result(verdict, score=score, seq=second), second * S)))
    alarms = [(second, alarm.phase) for second, alarm in said if alarm]
    assert alarms == [(1, Phase.NEW), (6, Phase.UPDATE), (11, Phase.UPDATE), (15, Phase.END)]
    assert {alarm.key for _, alarm in said if alarm} == {"inspect-1-1"}
    end = next(alarm for _, alarm in said if alarm and alarm.phase is Phase.END)
    assert (end.peak, end.score, end.seconds) == (2.5, 0.3, 14.0)


def test_what_is_unknown_neither_begins_nor_ends_an_alarm():
    watch = AlarmWatch()
    assert watch.see(result("unknown"), 0) is None
    assert watch.see(result("nok"), 0).phase is Phase.NEW
    assert watch.see(result("unknown"), S) is None
    assert watch.end(2 * S).phase is Phase.END
    assert watch.end(3 * S) is None


def test_an_alarm_names_what_the_last_bad_result_was():
    watch = AlarmWatch()
    assert watch.see(result("nok", label="imbalance"), 0).label == "imbalance"
    assert watch.see(result("nok", label="bearing"), 6 * S).label == "bearing"
    assert watch.see(result("ok", label="healthy"), 7 * S).label == "bearing"


def test_one_odd_window_wakes_nobody_and_one_fine_one_ends_nothing():
    watch = AlarmWatch(confirm=3)
    verdicts = ["nok", "ok", "nok", "nok", "unknown", "nok", "ok", "ok", "nok", "ok", "ok", "ok", "ok"]
    said = [(n, watch.see(result(verdict, seq=n), n * S)) for n, verdict in enumerate(verdicts)]
    assert [(n, alarm.phase) for n, alarm in said if alarm and alarm.phase is not Phase.UPDATE] == [
        (5, Phase.NEW),
        (11, Phase.END),
    ]
    assert watch.end(20 * S) is None
