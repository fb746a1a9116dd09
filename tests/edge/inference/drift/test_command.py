"""What `plantedge drift status` prints."""

from edge.commands.drift import described
from schemas.messages import Drift, DriftSignal, Insight


def insight(**drift):
    return Insight(
        pipeline="cap", model="m", version="1", window_s=10, inputs=1, results=1, late=0, dropped={}, gaps=0,
        verdicts={}, p50_ms=1, p99_ms=1, max_ms=1, score_mean=0, time_ns=0, drift=Drift(**drift),
    )  # fmt: skip


def test_a_pipeline_that_still_learns_says_how_far_it_is_and_what_was_not_clean():
    (line,) = described("cap", insight(level="learning", windows=7, of=60, unclean="bad_quality"))
    assert line == "cap: learning, 7 of 60 clean windows learned (the last window was not clean: bad_quality)"


def test_the_signals_nearest_to_their_limits_come_first():
    signals = {
        "mean_red": DriftSignal(value=140.5, score=1.5, low=120.0, high=136.25),
        "entropy": DriftSignal(value=0.01, score=0.25, high=0.04),
    }
    head, worst, next_one = described("cap", insight(level="inputs_changed", learned=True, signals=signals))
    assert head == "cap: inputs changed"
    assert worst.split() == ["mean_red", "140.5", "limit", "120", "to", "136.2,", "150%", "of", "the", "way"]
    assert next_one.split()[:4] == ["entropy", "0.01", "limit", "0.04,"]


def test_a_pipeline_that_has_said_nothing_is_named_all_the_same():
    assert described("cap", None)[0].startswith("cap: nothing yet")
