"""Rendered parts for training, choosing and testing `cap_inspection`, each from batches (seeds) of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.sim.parts import LABELS, PartStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAIN_SEEDS: Final = range(1_000_000, 1_005_000)
DEV_SEEDS: Final = range(2_000_000, 2_000_300)
TEST_SEEDS: Final = range(3_000_000, 3_002_000)
FINE_SEEDS: Final = range(3_500_000, 3_501_000)
GOLDEN_SEED: Final = 4_000_000
PARTS_PER_SEED: Final = 20
BALANCED: Final = 0.75  # defect rate at which the four labels are equally frequent


@dataclass(frozen=True)
class Pictures:
    """Rendered parts: uint8 [N, 64, 64, 3] and their label indices [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def pictures(seeds: range, defect_rate: float = BALANCED) -> Pictures:
    """Render `PARTS_PER_SEED` parts of each seed."""
    with ProcessPoolExecutor() as pool:
        drawn = list(pool.map(_draw, seeds, [defect_rate] * len(seeds), chunksize=20))
    return Pictures(np.concatenate([one.images for one in drawn]), np.concatenate([one.labels for one in drawn]))


def _draw(seed: int, defect_rate: float) -> Pictures:
    stream = PartStream(seed, defect_rate)
    parts = [stream.part(part_id) for part_id in range(PARTS_PER_SEED)]
    images = np.stack([stream.image(part.part_id) for part in parts])
    return Pictures(images, np.array([LABELS.index(part.label) for part in parts], dtype=np.int64))
