"""What a shift's judgements say of its verdicts, and what may not be said yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge.operator_page.counts import Tally
from edge.operator_page.intervals import LEAST, estimate, recall
from edge.operator_page.parts import Judgement, Really
from edge.operator_page.sampling import Fair, Sample
from edge.operator_page.views import JudgedView


def judged_view(
    tally: Tally,
    said_of_rejects: Mapping[str, Judgement],
    said_of_goods: Mapping[str, Judgement],
    drawn_rejects: Sample,
    drawn_goods: Sample,
) -> JudgedView:
    """Return the figures of a shift.

    Rejects count that were drawn, once there are enough of them; until then all that somebody picked, which is said.
    Good parts count as drawn, and no other way: those that a person picks are the odd ones.
    """
    rejects, goods = tally.reject, tally.good
    right, judged, _ = _tallied(said_of_rejects, tally.fair_rejects.names)
    all_right, all_judged, unsure = _tallied(said_of_rejects, said_of_rejects)
    slanted = judged < LEAST and all_judged < rejects
    if slanted or all_judged >= rejects:
        right, judged = all_right, all_judged
    missed, goods_judged, unsure_goods = _tallied(said_of_goods, tally.fair_goods.names)
    return JudgedView(
        precision=estimate(right, judged, min(LEAST, max(1, rejects))), missed=estimate(missed, goods_judged, LEAST),
        recall=recall(rejects, goods, right, judged, missed, goods_judged), slanted=slanted and judged > 0,
        rejects_judged=len(said_of_rejects), rejects_waiting=_waiting(drawn_rejects, said_of_rejects),
        drawn=len(drawn_goods), drawn_judged=len(tally.fair_goods.names),
        drawn_ready=len(drawn_goods.ready(said_of_goods.__contains__)),
        drawn_waiting=_waiting(drawn_goods, said_of_goods), fair_until_ms=tally.fair_goods.at_ms,
        unsure=unsure + unsure_goods, least=LEAST,
    )  # fmt: skip


def fairer(before: Fair, drawn: Sample, said: Mapping[str, Judgement], at_ms: int) -> Fair:
    """Return the drawn parts that count after a judgement: those of now, unless there were more before."""
    names = drawn.judged(said.__contains__)
    return Fair(names=names, at_ms=at_ms) if names and len(names) >= len(before.names) else before


def _waiting(drawn: Sample, said: Mapping[str, Judgement]) -> int:
    return sum(name not in said for name in drawn.in_turn())


def _tallied(said: Mapping[str, Judgement], names: Iterable[str]) -> tuple[int, int, int]:
    """Return how many are bad, how many could be told, and how many could not."""
    found = [said[name].really for name in names if name in said]
    return found.count(Really.BAD), len(found) - found.count(Really.UNSURE), found.count(Really.UNSURE)
