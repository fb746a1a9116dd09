"""Pictures of the accumulation table behind the ejector: two lanes, none to six whole bottles. SYNTHETIC, see `bottle`.

Bottles queue between guide rails, touching or apart; those that reach over the picture's left or right edge belong to
another picture. One `seed` is one production batch at one mounting of the camera, one `tray_id` one picture. Numpy
only; about 8 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.sim.bottle import SHOULDER_PX, Batch, batch_of, draw_belt, draw_bottle, pose_at
from edge.sim.optics import CLEAN, SIZE, Optics, expose, grain
from edge.sim.parts import Part, random_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

HIGH: Final = 160
WIDE: Final = 256
MOST: Final = 6  # whole bottles in a picture

_LANES: Final = 2
_PITCH_PX: Final = 72
_FIRST_PX: Final = 12  # from the picture's top to the first lane, before the mounting's shift
_SHIFT_PX: Final = 8
_SPACING_PX: Final = 57.0  # two bottles that touch
_INSIDE_PX: Final = 32.0  # a whole bottle's centre lies so far inside the picture at least
_CUT_PX: Final = 14.0  # a cut one's no further
_SHARES: Final = (0.1, 0.25, 0.35, 0.3)  # how often a lane holds 0, 1, 2, 3 whole bottles
_PATCH_PX: Final = 80
_MARGIN_PX: Final = _PATCH_PX


@dataclass(frozen=True)
class Standing:
    """A bottle and where it stands: its centre in pixels, its size as a share of the nominal one."""

    part: Part
    x: float
    y: float
    size: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of its outline."""
        half = SHOULDER_PX * self.size
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class Tray:
    """One picture's truth: the whole bottles, lane by lane from the left, and those that an edge cuts."""

    whole: tuple[Standing, ...]
    cut: tuple[Standing, ...]

    @property
    def good(self) -> bool:
        """Whether all whole bottles are fine."""
        return all(one.part.defect is None for one in self.whole)


class TrayStream:
    """The pictures of one batch in order. What stands on picture N depends on seed and N alone."""

    def __init__(self, seed: int, defect_rate: float = 0.02) -> None:
        """`defect_rate` is the share of defective bottles, 0..1."""
        self.seed = seed
        self.defect_rate = defect_rate
        self._shift = int(np.random.default_rng((seed, 0, 4)).integers(-_SHIFT_PX, _SHIFT_PX + 1))

    def tray(self, tray_id: int) -> Tray:
        """Return the truth about a picture without drawing it."""
        rng = np.random.default_rng((self.seed, tray_id, 5))
        whole: list[Standing] = []
        cut: list[Standing] = []
        for lane in range(_LANES):
            places = _queue(rng)
            for x in places:
                one = Standing(
                    random_part(rng, len(whole) + len(cut), self.defect_rate), x,
                    self._top(lane) + float(np.clip(rng.normal(31.5, 0.9), 28.0, 35.0)), float(rng.uniform(0.96, 1.04)),
                )  # fmt: skip
                (whole if _INSIDE_PX <= x <= WIDE - _INSIDE_PX else cut).append(one)
        return Tray(tuple(whole), tuple(cut))

    def image(self, tray_id: int, optics: Optics = CLEAN) -> NDArray[np.uint8]:
        """Draw a picture, uint8 RGB of shape (HIGH, WIDE, 3)."""
        rng = np.random.default_rng((self.seed, tray_id, 6))
        batch, tray = batch_of(self.seed), self.tray(tray_id)
        lamp_rad = batch.lamp_rad + float(rng.normal(0.0, 0.15))
        scene = self._table(rng, batch)
        for one in (*tray.cut, *tray.whole):
            left, top = round(one.x - _PATCH_PX / 2), round(one.y - _PATCH_PX / 2)
            turn = float(rng.uniform(-np.pi, np.pi))
            pose = pose_at(one.x - left, one.y - top, one.size, turn, _PATCH_PX)
            patch = scene[top + _MARGIN_PX :, left + _MARGIN_PX :][:_PATCH_PX, :_PATCH_PX]
            draw_bottle(patch, rng, batch, pose, lamp_rad, one.part.defect)
        inside = scene[_MARGIN_PX : _MARGIN_PX + HIGH, _MARGIN_PX : _MARGIN_PX + WIDE]
        return expose(np.ascontiguousarray(inside), rng, optics)

    def _top(self, lane: int) -> int:
        return _FIRST_PX + self._shift + lane * _PITCH_PX

    def _table(self, rng: np.random.Generator, batch: Batch) -> Plane:
        """The empty lanes on their steel frame, with room for what an edge cuts."""
        scene = np.full((HIGH + 2 * _MARGIN_PX, WIDE + 2 * _MARGIN_PX, 3), 0.2, np.float32)
        scene[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX] += 0.015 * grain()[:HIGH, :WIDE, None]
        for lane in range(_LANES):
            top = self._top(lane) + _MARGIN_PX
            scene[top : top + SIZE, _MARGIN_PX:-_MARGIN_PX] = draw_belt(rng, batch, WIDE)
        return scene


def _queue(rng: np.random.Generator) -> list[float]:
    """Where the bottles of one lane stand: whole ones apart or touching, and perhaps a cut one on either side."""
    count = int(rng.choice(len(_SHARES), p=_SHARES))
    room = WIDE - 2 * _INSIDE_PX - _SPACING_PX * max(count - 1, 0)
    steps = np.sort(rng.uniform(0.0, room, count)) * (1.0 if rng.random() < 0.7 else rng.uniform(0.0, 0.3))
    places = [_INSIDE_PX + step + _SPACING_PX * index for index, step in enumerate(steps.tolist())]
    first, last = (places[0], places[-1]) if places else (WIDE / 2, WIDE / 2)
    before, after = rng.uniform(-SHOULDER_PX, _CUT_PX, 2)
    free = first - before >= _SPACING_PX, WIDE - after - last >= _SPACING_PX
    cut = [x for x, fits in zip((before, WIDE - after), free, strict=True) if fits]
    return places + [float(x) for x in cut if rng.random() < 0.5]
