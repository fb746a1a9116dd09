"""What a detector found on pictures that it never saw, and what that is worth to the classifier behind it.

Boxes are taken as the pipeline takes them: by its own `nms` and `crop`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.inference.steps import Spec, make_step
from edge.sim.optics import SIZE
from edge.sim.parts import LABELS
from edge.sim.training.dataset import BALANCED
from edge.sim.training.finder import COLUMNS, ROWS
from edge.sim.tray import HIGH, MOST, WIDE, Tray, TrayStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.engines import Session

TEST_SEEDS: Final = range(23_000_000, 23_000_400)
GOLDEN_SEED: Final = 24_000_000
PER_SEED: Final = 5
SURE: Final = 0.4
_SAME: Final = 0.5  # intersection over union from which on a box is that of a bottle
_REJECT_AT: Final = 0.5

_CANDIDATES: Final = {"boxes": Spec("float32", (ROWS * COLUMNS, 4)), "scores": Spec("float32", (ROWS * COLUMNS,))}
_PICTURE: Final = {"image": Spec("uint8", (HIGH, WIDE, 3))}


@dataclass
class _Count:
    """Of bottles (truth), boxes (found) and pictures."""

    bottles: int = 0
    boxes: int = 0
    hits: int = 0
    labelled: int = 0
    pictures: int = 0
    counted: int = 0
    good: int = 0
    good_rejected: int = 0
    bad_passed: int = 0


def evaluate(finder: Session, judge: Session, seeds: range = TEST_SEEDS) -> dict[str, float]:
    """Return how many bottles are found and where, and how often the whole of detector and classifier is right."""
    nms = make_step("nms", {"score": SURE, "iou": 0.5, "max": MOST}, [_CANDIDATES])
    crop = make_step("crop", {"size": [SIZE, SIZE], "scale": "keep"}, [_PICTURE, nms.gives])
    count, off_px = _Count(), list[float]()
    for seed in seeds:
        stream = TrayStream(seed, BALANCED if seed % 2 else 0.0)
        for number in range(PER_SEED):
            picture, tray = stream.image(number)[None], stream.tray(number)
            kept = nms.run(finder.run({"image": picture}))
            crops = crop.run({"image": picture}, kept)["crops"]
            answers = judge.run({"image": crops})["probabilities"] if len(crops) else np.empty((0, len(LABELS)))
            _take(count, off_px, tray, kept["boxes"], answers)
    return _figures(count, np.array(off_px))


def _take(
    count: _Count, off_px: list[float], tray: Tray, boxes: NDArray[np.generic], answers: NDArray[np.generic]
) -> None:
    count.bottles, count.boxes, count.pictures = (
        count.bottles + len(tray.whole), count.boxes + len(boxes), count.pictures + 1,
    )  # fmt: skip
    count.counted += len(boxes) == len(tray.whole)
    pairs = [(one, box, answer) for one in tray.whole for box, answer in zip(boxes, answers, strict=True)
             if _overlap(np.array(one.box), box) >= _SAME]  # fmt: skip
    count.hits += len(pairs)
    for one, box, answer in pairs:
        centre = (np.asarray(box, float)[:2] + np.asarray(box, float)[2:]) / 2
        off_px.append(float(np.hypot(*(centre - (one.x, one.y)))))
        count.labelled += LABELS[int(np.argmax(answer))] == one.part.label
    rejected = bool((np.asarray(answers, float)[:, 1:].sum(1) >= _REJECT_AT).any())
    count.good += tray.good
    count.good_rejected += tray.good and rejected
    count.bad_passed += not tray.good and not rejected


def _overlap(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    a, b = np.asarray(one, float), np.asarray(other, float)
    common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


def _figures(count: _Count, off_px: NDArray[np.float64]) -> dict[str, float]:
    return {
        "bottles": count.bottles,
        "recall": count.hits / count.bottles,
        "precision": count.hits / max(count.boxes, 1),
        "pictures_with_the_right_count": count.counted / count.pictures,
        "centre_off_px_median": float(np.median(off_px)),
        "centre_off_px_p99": float(np.percentile(off_px, 99)),
        "cap_inspection_accuracy_on_its_crops": count.labelled / max(count.hits, 1),
        "pictures_with_a_defect_passed": count.bad_passed / (count.pictures - count.good),
        "fine_pictures_rejected": count.good_rejected / count.good,
    }
