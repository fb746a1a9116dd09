"""Non-maximum suppression: of a detector's overlapping boxes, the surest of each thing.

Greedy, over all classes together, as in Felzenszwalb et al. 2010; boxes are (x0, y0, x1, y1) in pixels of the input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from edge.config.section import Section
from edge.inference.steps import Spec, Specs, Step, Value
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_GIVES = {"boxes": Spec("float32", (4,)), "scores": Spec("float32", ())}


class Options(Section):
    """`score`: below it nothing is there. `iou`: two boxes that overlap more are one thing. `max`: how many at most."""

    score: float = Field(default=0.5, ge=0, le=1)
    iou: float = Field(default=0.5, gt=0, le=1)
    max: int = Field(default=16, ge=1, le=256)


def make(options: Options, taken: Sequence[Specs]) -> Step:
    """Take `boxes` [1, K, 4] and `scores` [1, K]; give `boxes` [M, 4] and `scores` [M], the surest first."""
    specs = {name: spec for one in taken for name, spec in one.items()}
    boxes, scores = specs.get("boxes"), specs.get("scores")
    if boxes is None or scores is None or boxes.shape[1:] != (4,) or scores.shape != boxes.shape[:1]:
        found = ", ".join(f"{name} {list(spec.shape)}" for name, spec in specs.items()) or "nothing"
        raise ContractError(
            [f"op nms takes `boxes` of [K, 4] and `scores` of [K] from a detector, and is given {found}"]
        )
    return Nms(options.score, options.iou, options.max)


@dataclass(frozen=True)
class Nms:
    """See `make`."""

    score: float
    iou: float
    most_rows: int
    rowwise: bool = False
    gives: Specs = field(default_factory=lambda: _GIVES)

    def run(self, *taken: Value) -> Value:
        """Keep the surest box, drop what overlaps it, and so on."""
        value = {name: array for one in taken for name, array in one.items()}
        boxes, scores = value["boxes"][0], value["scores"][0]
        sure = np.flatnonzero(scores >= self.score)  # a score that is no number is not there
        order = sure[np.argsort(-scores[sure], kind="stable")]
        kept: list[int] = []
        while order.size and len(kept) < self.most_rows:
            kept.append(int(order[0]))
            order = order[1:][_overlap(boxes[order[0]], boxes[order[1:]]) <= self.iou]
        return {"boxes": boxes[kept].astype(np.float32), "scores": scores[kept].astype(np.float32)}


def _overlap(box: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of one box with each of the others; 0 where a box has no area."""
    corner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(corner, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - common
    share: NDArray[Any] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return share
