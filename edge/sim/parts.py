"""Synthetic pictures of bottle caps for the simulated line camera. SYNTHETIC: drawn by formulas, never photographed.

A camera looks down on a conveyor with two guide rails. One bottle stands in each picture: translucent shoulder, ribbed
screw cap with an embossed emblem. A part is fine or has one defect: a `scratch` or `blob` on the cap's face, or the
cap is missing and the neck's bore is seen. Fine parts carry what a real line tolerates: specks of dust, water drops,
glare, uneven light. The smallest and faintest defects are hard to see on purpose.

One `seed` is one production batch (cap colour, bottle, lamp, belt); one `part_id` is one bottle in it. `render` depends
on nothing else, so a picture can be drawn again from the two numbers that a result carries. Numpy only; about 1 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edge.sim.bottle import KINDS, Defect, batch_of, draw_belt, draw_bottle, pose_in_guide
from edge.sim.optics import CLEAN, Optics, expose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Label = Literal["ok", "scratch", "blob", "missing_cap"]
LABELS: Final[tuple[Label, ...]] = ("ok", "scratch", "blob", "missing_cap")


@dataclass(frozen=True)
class Part:
    """One bottle of a stream and the truth about it."""

    part_id: int
    label: Label
    defect: Defect | None


def render(seed: int, part_id: int, defect: Defect | None = None, optics: Optics = CLEAN) -> NDArray[np.uint8]:
    """Draw one part as uint8 RGB of shape (64, 64, 3). The same arguments give the same bytes on one machine."""
    batch = batch_of(seed)
    rng = np.random.default_rng((seed, part_id))
    pose = pose_in_guide(rng)
    lamp_rad = batch.lamp_rad + float(rng.normal(0.0, 0.15))
    scene = draw_belt(rng, batch)
    draw_bottle(scene, rng, batch, pose, lamp_rad, defect)
    return expose(scene, rng, optics)


def random_part(rng: np.random.Generator, part_id: int, defect_rate: float) -> Part:
    """Return whether a part is defective, and how."""
    if rng.random() >= defect_rate:
        return Part(part_id, "ok", None)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    return Part(part_id, kind, Defect(kind, float(rng.random()), float(rng.random())))


class PartStream:
    """The parts of one batch in order. Whether part N is defective, and how, depends on seed and N alone."""

    def __init__(self, seed: int, defect_rate: float = 0.02) -> None:
        """`defect_rate` is the share of defective parts, 0..1."""
        if not 0.0 <= defect_rate <= 1.0:
            raise ValueError(f"defect_rate must lie in 0..1, not {defect_rate}")
        self.seed = seed
        self.defect_rate = defect_rate

    def part(self, part_id: int) -> Part:
        """Return the truth about a part without drawing it."""
        return random_part(np.random.default_rng((self.seed, part_id, 1)), part_id, self.defect_rate)

    def image(self, part_id: int, optics: Optics = CLEAN) -> NDArray[np.uint8]:
        """Draw a part of this stream."""
        return render(self.seed, part_id, self.part(part_id).defect, optics)

    def parts(self, first: int = 0) -> Iterator[Part]:
        """Yield the truth about parts `first`, `first` + 1, ... without end."""
        part_id = first
        while True:
            yield self.part(part_id)
            part_id += 1
