"""What a shift's judgements say of its verdicts, and what may not be said yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge.operator_page.intervals import LEAST, estimate, recall
from edge.operator_page.parts import Judgement, Really
from edge.operator_page.sampling import Sample
from edge.operator_page.views import JudgedView


def judged_view(
    rejects: int,
    goods: int,
    said_of_rejects: Mapping[str, Judgement],
    said_of_goods: Mapping[str, Judgement],
    drawn_rejects: Sample,
    drawn_goods: Sample,
) -> JudgedView:
    """Return the figures of a shift with `rejects` and `goods` parts.

    Rejects count that were drawn, once there are enough of them; until then all that somebody picked, which is said.
    Good parts count as drawn, and no other way: those that a person picks are the odd ones.
    """
    drawn = drawn_rejects.judged(said_of_rejects.__contains__)
    right, judged, _ = _tallied(said_of_rejects[name] for name in drawn)
    all_right, all_judged, unsure = _tallied(said_of_rejects.values())
    slanted = judged < LEAST and all_judged < rejects
    if slanted or all_judged >= rejects:
        right, judged = all_right, all_judged
    counting = drawn_goods.judged(said_of_goods.__contains__)
    missed, goods_judged, unsure_goods = _tallied(said_of_goods[name] for name in counting)
    waiting = sum(name not in said_of_goods for name in drawn_goods.in_turn())
    return JudgedView(
        precision=estimate(right, judged, min(LEAST, max(1, rejects))), missed=estimate(missed, goods_judged, LEAST),
        recall=recall(rejects, goods, right, judged, missed, goods_judged), slanted=slanted and judged > 0,
        rejects_judged=len(said_of_rejects),
        rejects_waiting=sum(name not in said_of_rejects for name in drawn_rejects.in_turn()), drawn=len(drawn_goods),
        drawn_judged=len(counting), drawn_waiting=waiting, unsure=unsure + unsure_goods, least=LEAST,
    )  # fmt: skip


def _tallied(said: Iterable[Judgement]) -> tuple[int, int, int]:
    """Return how many are bad, how many could be told, and how many could not."""
    found = [judgement.really for judgement in said]
    return found.count(Really.BAD), len(found) - found.count(Really.UNSURE), found.count(Really.UNSURE)
