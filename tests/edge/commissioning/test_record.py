"""What makes a row pass, and a run."""

import pytest

from edge.commissioning.record import (
    EXIT_STATUS,
    Figure,
    Row,
    Verdict,
    at_most,
    found,
    holds,
    judged,
    overall,
    skipped,
    told,
)
from tests.edge.commissioning.acceptance import good_row

BAD = found("x", "x", "x", "x", [at_most("time", 601.0, 600.0)])
LEFT_OUT = skipped("y", "y", "no terminal")


@pytest.mark.parametrize(("value", "passes"), [(600.0, True), (0.0, True), (600.1, False), (None, False)])
def test_a_figure_passes_up_to_its_limit_and_what_did_not_happen_fails(value: float | None, passes: bool) -> None:
    assert at_most("time", value, 600.0).verdict is (Verdict.PASS if passes else Verdict.FAIL)


def test_a_row_is_judged_by_its_figures_and_without_any_it_shows_nothing() -> None:
    assert judged([holds("a", True), told("b", 3)]) is Verdict.PASS
    assert judged([holds("a", True), holds("b", False)]) is Verdict.FAIL
    assert judged([told("b", 3)]) is Verdict.SKIPPED
    assert judged([holds("a", True), Figure(name="b", value=None, verdict=Verdict.SKIPPED)]) is Verdict.SKIPPED
    assert judged([holds("a", False), Figure(name="b", value=None, verdict=Verdict.SKIPPED)]) is Verdict.FAIL


@pytest.mark.parametrize(("rows", "verdict"), [
    ([good_row()], Verdict.PASS), ([good_row(), BAD], Verdict.FAIL), ([good_row(), LEFT_OUT], Verdict.INCOMPLETE),
    ([BAD, LEFT_OUT], Verdict.FAIL), ([LEFT_OUT], Verdict.INCOMPLETE), ([], Verdict.INCOMPLETE),
])  # fmt: skip
def test_a_run_passes_only_where_every_row_does_and_what_was_skipped_is_no_pass(
    rows: list[Row], verdict: Verdict
) -> None:
    assert overall(rows) is verdict


def test_the_exit_status_is_zero_for_a_pass_alone() -> None:
    assert [verdict for verdict, status in EXIT_STATUS.items() if status == 0] == [Verdict.PASS]
    assert set(EXIT_STATUS) == {overall([good_row()]), overall([BAD]), overall([])}
