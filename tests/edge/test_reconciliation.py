"""Frames, decisions and acknowledged outputs of each part: what is missing is told once."""

from hypothesis import given
from hypothesis import strategies as st

from edge.history.reconciliation import DECISION, OUTPUT, WINDOW_NS, Lack, Reconciliation
from edge.history.reconciliation_voice import told
from schemas.messages import Latency, Outcome, Output, Quality, Result, Verdict

OVER = WINDOW_NS + 1
ZERO = Latency(ingest=0, queue=0, preprocess=0, infer=0, total=0)


def result(seq: int, part: int | None = -1, epoch: int = 1, pipeline: str = "cap") -> Result:
    return Result(
        result_id=f"{pipeline}-{epoch:x}-{seq}", pipeline=pipeline, input="cam1", source_epoch=epoch, source_seq=seq,
        part_id=seq + 100 if part == -1 else part, outcome=Outcome.RESULT, verdict=Verdict.OK, label="", score=0,
        scores={}, quality=Quality.GOOD, reason="", latency=ZERO, deadline_ms=1, model="m", version="1", digest="",
        time_ns=0,
    )  # fmt: skip


def output(seq: int, epoch: int = 1) -> Output:
    return Output(
        pipeline="cap", result_id=f"cap-{epoch:x}-{seq}", part_id=seq + 100, verdict=Verdict.OK, failsafe=False,
        actuate_ms=1, total_ms=2, late=False, time_ns=0,
    )  # fmt: skip


def test_whole_parts_are_counted_and_nothing_is_told() -> None:
    found = Reconciliation(["cap"])
    for seq in range(5, 9):
        found.result(result(seq), seq)
        found.output(output(seq))
    assert found.overdue(OVER + 10) == []
    assert found.counts() == {"cap": (4, 4)}


def test_a_frame_that_no_result_came_for_is_told_once_with_its_part() -> None:
    found = Reconciliation([])
    found.result(result(5), 0)
    found.result(result(8), 0)
    assert found.overdue(WINDOW_NS) == []
    assert found.overdue(OVER) == [Lack("cap", DECISION, 106), Lack("cap", DECISION, 107)]
    assert found.overdue(2 * OVER) == []


def test_results_may_come_in_any_order_and_twice() -> None:
    found = Reconciliation([])
    for seq in (1, 4, 3, 3, 2, 4):
        found.result(result(seq), 0)
    assert found.overdue(OVER) == []
    assert found.counts() == {"cap": (4, 0)}


def test_part_ids_that_do_not_go_on_like_the_frames_name_nobody() -> None:
    found = Reconciliation([])
    found.result(result(5, part=17), 0)
    found.result(result(7, part=40), 0)
    assert found.overdue(OVER) == [Lack("cap", DECISION, None)]


def test_a_decision_that_the_plc_never_acknowledged_is_told() -> None:
    found = Reconciliation(["cap"])
    for seq in (1, 2, 3):
        found.result(result(seq), 0)
    found.output(output(2))
    assert found.overdue(OVER) == [Lack("cap", OUTPUT, 101), Lack("cap", OUTPUT, 103)]
    found.output(output(3))  # too late: it has been told
    assert found.counts() == {"cap": (3, 1)}


def test_an_output_may_come_before_its_result() -> None:
    found = Reconciliation(["cap"])
    found.output(output(1))
    found.result(result(1), 0)
    assert found.overdue(OVER) == []
    assert found.counts() == {"cap": (1, 1)}


def test_a_device_that_starts_owes_nothing_before_its_first_output_or_the_end_of_its_time() -> None:
    found = Reconciliation(["cap"], owed_from_ns=100)
    found.result(result(1), 50)
    found.result(result(2), 100)
    assert found.overdue(OVER + 100) == [Lack("cap", OUTPUT, 102)]
    started = Reconciliation(["cap"], owed_from_ns=100)
    started.result(result(1), 10)
    started.output(output(2))
    started.result(result(2), 20)
    started.result(result(3), 30)
    assert started.overdue(OVER + 100) == [Lack("cap", OUTPUT, 103)]


def test_a_pipeline_without_outputs_owes_none_and_windows_are_no_parts() -> None:
    found = Reconciliation(["cap"])
    found.result(result(1, pipeline="other"), 0)
    found.result(result(9, part=None), 0)
    found.result(result(15, part=None), 0)
    assert found.overdue(OVER) == []


def test_a_camera_that_began_again_owes_nothing_of_its_run_before() -> None:
    found = Reconciliation([])
    found.result(result(50), 0)
    found.result(result(3, epoch=2), 0)
    assert found.overdue(OVER) == []


def test_a_storm_is_bounded_and_all_of_it_counted() -> None:
    found = Reconciliation([])
    found.result(result(1), 0)
    found.result(result(5_002), 0)
    assert len(found.overdue(OVER)) == 5_000


def test_a_number_from_nowhere_costs_no_memory() -> None:
    found = Reconciliation([])
    found.result(result(1), 0)
    found.result(result(2**62), 0)
    assert 5_000 < len(found.overdue(OVER)) < 200_000


@given(st.sets(st.integers(2, 60)), st.sets(st.integers(1, 61)), st.randoms())
def test_told_is_exactly_what_is_missing(unseen: set[int], silent: set[int], random) -> None:
    found = Reconciliation(["cap"])
    seen = [seq for seq in range(2, 61) if seq not in unseen]
    random.shuffle(seen)
    for seq in [1, *seen, 61]:
        found.result(result(seq), 0)
        if seq not in silent:
            found.output(output(seq))
    lacking = found.overdue(OVER)
    assert {lack.part_id for lack in lacking if lack.lacks == DECISION} == {seq + 100 for seq in unseen}
    assert {lack.part_id for lack in lacking if lack.lacks == OUTPUT} == {seq + 100 for seq in silent - unseen}


def test_what_is_said_names_the_parts() -> None:
    lacking = [*(Lack("cap", OUTPUT, part) for part in range(30)), Lack("cap", DECISION, None)]
    text = told(lacking)
    assert text.startswith("cap: no decision for part unknown and 1 more; cap: no output for part 0, 1, 2")
    assert text.endswith("19 and 10 more")
