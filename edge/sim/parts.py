"""Synthetic pictures of bottle caps for the simulated line camera. SYNTHETIC: drawn by formulas, never photographed.

A camera looks down on a conveyor with two guide rails. One bottle stands in each picture: translucent shoulder, ribbed
screw cap with an embossed emblem. A part is fine or has one defect: a `scratch` or `blob` on the cap's face, or the
cap is missing and the neck's bore is seen. Fine parts carry what a real line tolerates: specks of dust, water drops,
glare, uneven light. The smallest and faintest defects are hard to see on purpose.

One `seed` is one production batch (cap colour, bottle, lamp, belt); one `part_id` is one bottle in it. `render` depends
on nothing else, so a picture can be drawn again from the two numbers that a result carries. Numpy only; about 1 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edge.sim.optics import CLEAN, GRAIN_PX, SIZE, Optics, expose, grain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

Kind = Literal["scratch", "blob", "missing_cap"]
Label = Literal["ok", "scratch", "blob", "missing_cap"]
LABELS: Final[tuple[Label, ...]] = ("ok", "scratch", "blob", "missing_cap")

_KINDS: Final[tuple[Kind, ...]] = ("scratch", "blob", "missing_cap")
_FACE_PX: Final = 17.5  # radius of the flat face, where scratches and blobs lie
_CAP_PX: Final = 22.0  # outer radius of the ribbed skirt
_SHOULDER_PX: Final = 27.5
_RAIL_PX: Final = 4.0

_Y, _X = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32), indexing="ij")


@dataclass(frozen=True)
class Defect:
    """What is wrong with a part. `size` and `contrast` run from 0 (the least that counts) to 1 (plain to see)."""

    kind: Kind
    size: float = 0.5
    contrast: float = 0.5


@dataclass(frozen=True)
class Part:
    """One bottle of a stream and the truth about it."""

    part_id: int
    label: Label
    defect: Defect | None


@dataclass(frozen=True)
class _Batch:
    """What all parts of one seed share. Colours are linear RGB in 0..1."""

    cap: Plane
    bottle: Plane
    belt: Plane
    lamp_rad: float
    ribs: int
    emblem_arms: int
    slat_px: float


@dataclass(frozen=True)
class _Pose:
    """Where one part stands, in polar coordinates around its centre (pixels, radians)."""

    x: float
    y: float
    dx: Plane
    dy: Plane
    radius: Plane
    angle: Plane
    turn_rad: float


_CAP_COLOURS: Final = np.array(
    [
        [0.05, 0.16, 0.55],
        [0.60, 0.05, 0.06],
        [0.72, 0.72, 0.70],
        [0.06, 0.38, 0.14],
        [0.75, 0.45, 0.05],
        [0.05, 0.05, 0.055],
    ],
    dtype=np.float32,
)
_BOTTLE_COLOURS: Final = np.array([[0.42, 0.50, 0.52], [0.30, 0.46, 0.34], [0.44, 0.34, 0.22]], dtype=np.float32)


def render(seed: int, part_id: int, defect: Defect | None = None, optics: Optics = CLEAN) -> NDArray[np.uint8]:
    """Draw one part as uint8 RGB of shape (64, 64, 3). The same arguments give the same bytes on one machine."""
    batch = _batch(seed)
    rng = np.random.default_rng((seed, part_id))
    pose = _pose(rng)
    lamp_rad = batch.lamp_rad + float(rng.normal(0.0, 0.15))
    scene = _belt(rng, batch)
    _shade_shoulder(scene, rng, batch, pose, lamp_rad)
    if defect is not None and defect.kind == "missing_cap":
        _draw_neck(scene, rng, batch, pose, lamp_rad)
    else:
        face = _cap_face(rng, batch, pose, lamp_rad)
        _mark_dust(face, rng, pose)
        if defect is not None:
            (_scratch if defect.kind == "scratch" else _blob)(face, rng, pose, defect)
        _blend(scene, face, _edge(_CAP_PX - pose.radius))
    return expose(scene, rng, optics)


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
        rng = np.random.default_rng((self.seed, part_id, 1))
        if rng.random() >= self.defect_rate:
            return Part(part_id, "ok", None)
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        return Part(part_id, kind, Defect(kind, float(rng.random()), float(rng.random())))

    def image(self, part_id: int, optics: Optics = CLEAN) -> NDArray[np.uint8]:
        """Draw a part of this stream."""
        return render(self.seed, part_id, self.part(part_id).defect, optics)

    def parts(self, first: int = 0) -> Iterator[Part]:
        """Yield the truth about parts `first`, `first` + 1, ... without end."""
        part_id = first
        while True:
            yield self.part(part_id)
            part_id += 1


@lru_cache(maxsize=256)
def _batch(seed: int) -> _Batch:
    rng = np.random.default_rng((seed, 0, 2))
    cap = _CAP_COLOURS[rng.integers(len(_CAP_COLOURS))] * rng.uniform(0.8, 1.2) + rng.uniform(0.0, 0.02, 3)
    bottle = _BOTTLE_COLOURS[rng.integers(len(_BOTTLE_COLOURS))] * rng.uniform(0.85, 1.15)
    belt = rng.uniform(0.06, 0.17) * np.array([0.92, 1.0, 1.06]) * rng.uniform(0.94, 1.06, 3)
    return _Batch(
        cap=np.clip(cap, 0.02, 0.85).astype(np.float32),
        bottle=bottle.astype(np.float32),
        belt=belt.astype(np.float32),
        lamp_rad=float(rng.uniform(-np.pi, np.pi)),
        ribs=int(rng.integers(36, 49)),
        emblem_arms=int(rng.integers(3, 6)),
        slat_px=float(rng.uniform(14.0, 20.0)),
    )


def _cut_grain(rng: np.random.Generator) -> Plane:
    top, left = rng.integers(0, GRAIN_PX - SIZE, 2)
    return grain()[top : top + SIZE, left : left + SIZE]


def _edge(depth_px: Plane) -> Plane:
    """Coverage of a pixel that lies `depth_px` inside a shape's outline: antialiased over one pixel."""
    return np.asarray(np.clip(depth_px + 0.5, 0.0, 1.0))


def _blend(scene: Plane, layer: NDArray[np.floating], cover: Plane) -> None:
    scene += (layer - scene) * cover[..., None]


def _pose(rng: np.random.Generator) -> _Pose:
    x, y = np.clip(rng.normal(31.5, (1.6, 0.9)), 28.0, 35.0)
    scale = np.float32(1.0 / rng.uniform(0.96, 1.04))
    dx, dy = (_X - np.float32(x)) * scale, (_Y - np.float32(y)) * scale
    turn = rng.uniform(-np.pi, np.pi)
    return _Pose(float(x), float(y), dx, dy, np.hypot(dx, dy), np.arctan2(dy, dx), float(turn))


def _belt(rng: np.random.Generator, batch: _Batch) -> Plane:
    """The conveyor: slats that move with the part's phase, and the two steel guide rails."""
    phase = (_X[0] + rng.uniform(0.0, batch.slat_px)) % batch.slat_px
    slats = 1.0 - 0.55 * np.exp(-(((phase - 2.0) / 0.9) ** 2)) + 0.18 * np.exp(-(((phase - 4.2) / 1.0) ** 2))
    grey = slats[None, :] * (1.0 + 0.10 * _cut_grain(rng))
    rows = _Y[:, :1]
    rail_depth = np.maximum(_RAIL_PX - rows, rows - (SIZE - 1 - _RAIL_PX)) + rng.normal(0.0, 0.25)
    rail = 0.34 + 0.30 * np.exp(-(((rail_depth - 2.0) / 1.1) ** 2))
    cover = np.clip(rail_depth + 0.5, 0.0, 1.0)
    shadow = 1.0 - 0.5 * np.clip(1.0 + rail_depth / 3.0, 0.0, 1.0) * (1.0 - cover)
    scene = (grey * shadow)[..., None] * batch.belt
    scene += (rail[..., None] - scene) * cover[..., None]
    return np.asarray(scene, dtype=np.float32)


def _shade_shoulder(scene: Plane, rng: np.random.Generator, batch: _Batch, pose: _Pose, lamp_rad: float) -> None:
    """Cast the bottle's soft shadow, then lay its translucent shoulder over the belt, bright towards the lamp."""
    away_x, away_y = -4.0 * math.cos(lamp_rad), -4.0 * math.sin(lamp_rad)
    shadow = np.clip((_SHOULDER_PX + 3.0 - np.hypot(pose.dx - away_x, pose.dy - away_y)) / 6.0, 0.0, 1.0)
    scene *= (1.0 - 0.45 * shadow)[..., None]
    towards = np.cos(pose.angle - lamp_rad)
    slope = (pose.radius - _CAP_PX) / (_SHOULDER_PX - _CAP_PX)
    shine = 0.55 + 0.20 * towards + 0.35 * np.exp(-(((slope - 0.85) / 0.16) ** 2)) * (0.6 + 0.4 * towards)
    glint = np.exp(-(((slope - 0.45) / 0.2) ** 2)) * np.clip(towards, 0.0, 1.0) ** 12
    layer = (shine[..., None] * batch.bottle) + (0.5 * rng.uniform(0.3, 1.0) * glint)[..., None]
    _blend(scene, layer, 0.72 * _edge(_SHOULDER_PX - pose.radius))


def _cap_face(rng: np.random.Generator, batch: _Batch, pose: _Pose, lamp_rad: float) -> Plane:
    """The cap's colour and shading for the whole picture; only the disc of radius `_CAP_PX` is used."""
    radius, towards = pose.radius, np.cos(pose.angle - lamp_rad)
    skirt = _edge(radius - _FACE_PX - 1.5)
    bevel = np.exp(-(((radius - _FACE_PX - 0.8) / 1.1) ** 2))
    ribs = np.cos(batch.ribs * (pose.angle - pose.turn_rad))
    shade = 0.92 + 0.06 * towards * np.minimum(radius / _FACE_PX, 1.0) + 0.035 * _cut_grain(rng)
    shade += bevel * 0.34 * towards - skirt * (0.30 - 0.20 * ribs - 0.10 * towards)
    shade += 0.14 * towards * np.sin((radius - 13.6) * 2.2) * np.exp(-(((radius - 13.6) / 0.9) ** 2))
    shade += _emblem(batch, pose, lamp_rad)
    glare_r = rng.uniform(6.0, 11.0)
    off_x, off_y = pose.dx - glare_r * math.cos(lamp_rad), pose.dy - glare_r * math.sin(lamp_rad)
    glare = rng.uniform(0.03, 0.13) * np.exp(-(off_x**2 + off_y**2) / rng.uniform(20.0, 50.0))
    rim = 0.10 * bevel * np.clip(towards, 0.0, 1.0) ** 3
    return np.asarray(np.maximum(shade, 0.1)[..., None] * batch.cap + (glare + rim)[..., None], dtype=np.float32)


def _emblem(batch: _Batch, pose: _Pose, lamp_rad: float) -> Plane:
    """Relief of the embossed star in the middle: lit on one flank, dark on the other; turns with the cap."""
    half = np.pi / batch.emblem_arms
    sector = (pose.angle - pose.turn_rad) % (2.0 * half) - half
    outline = 5.2 + 2.6 * np.cos(batch.emblem_arms * (pose.angle - pose.turn_rad))
    depth = (outline - pose.radius) / 1.3
    flank = np.exp(-(depth**2))
    return np.asarray(0.22 * flank * np.cos(pose.angle - lamp_rad + 0.6 * sector), dtype=np.float32)


def _mark_dust(face: Plane, rng: np.random.Generator, pose: _Pose) -> None:
    """Specks of dust that the line tolerates: at most one pixel wide and faint."""
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-14.0, 14.0, 2)
        speck = np.exp(-((pose.dx - at[0]) ** 2 + (pose.dy - at[1]) ** 2) / 0.35)
        face += (rng.uniform(-0.05, 0.06) * speck)[..., None]


def _tone(face: Plane, pose: _Pose, rng: np.random.Generator, contrast: float) -> float:
    """Signed brightness step of a mark: light on dark caps, dark on light ones, relative to what the eye sees there."""
    cap = float(face[int(pose.y), int(pose.x)].mean())
    step = (0.07 + 0.20 * contrast) * (0.35 + 1.3 * cap)
    return -step if cap > 0.5 or (cap > 0.16 and rng.random() < 0.35) else step * 1.25


def _scratch(face: Plane, rng: np.random.Generator, pose: _Pose, defect: Defect) -> None:
    """A thin, slightly bent groove: a bright or dark line with the burr's opposite tone beside it."""
    length, half_width = 10.0 + 17.0 * defect.size, 0.38 + 0.5 * defect.size * rng.random()
    off = rng.uniform(0.0, max(1.0, 15.0 - length / 2.0))
    spin, heading = rng.uniform(-np.pi, np.pi, 2)
    dx, dy = pose.dx - off * math.cos(spin), pose.dy - off * math.sin(spin)
    along = dx * math.cos(heading) + dy * math.sin(heading)
    across = dy * math.cos(heading) - dx * math.sin(heading) - rng.normal(0.0, 0.008) * along**2
    ends = np.clip((length / 2.0 - np.abs(along)) / 2.0 + 0.5, 0.0, 1.0) * _edge(_FACE_PX - pose.radius)
    line = np.exp(-((across / (half_width + 0.35)) ** 2))
    burr = np.exp(-(((across - 1.3) / 0.7) ** 2))
    face += (_tone(face, pose, rng, defect.contrast) * ends * (line - 0.3 * burr))[..., None]


def _blob(face: Plane, rng: np.random.Generator, pose: _Pose, defect: Defect) -> None:
    """A lump or stain with a soft, uneven outline: grease, glue or paint."""
    off, spin = 14.5 * math.sqrt(rng.random()), rng.uniform(-np.pi, np.pi)
    dx, dy = pose.dx - off * math.cos(spin), pose.dy - off * math.sin(spin)
    angle, wobble = np.arctan2(dy, dx), rng.uniform(-np.pi, np.pi, 2)
    outline = (1.5 + 3.5 * defect.size) * (
        1.0 + 0.18 * np.cos(2 * angle + wobble[0]) + 0.12 * np.cos(3 * angle + wobble[1])
    )
    cover = np.clip((outline - np.hypot(dx, dy)) / rng.uniform(0.8, 1.6) + 0.5, 0.0, 1.0) * _edge(
        _FACE_PX + 1.0 - pose.radius
    )
    tint = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    face += (_tone(face, pose, rng, defect.contrast) * 1.15 * cover)[..., None] * tint


def _draw_neck(scene: Plane, rng: np.random.Generator, batch: _Batch, pose: _Pose, lamp_rad: float) -> None:
    """The open bottle: support ring, thread, wall and the dark bore with the liquid's reflection."""
    radius, towards = pose.radius, np.cos(pose.angle - lamp_rad)
    swirl = np.cos(pose.angle - pose.turn_rad)
    shade = 0.62 + 0.16 * towards + 0.30 * np.exp(-(((radius - 18.6) / 0.8) ** 2)) + 0.04 * _cut_grain(rng)
    shade += 0.28 * np.exp(-(((radius - 15.6 - 0.7 * swirl) / 0.7) ** 2)) * (0.6 + 0.4 * towards)
    shade += 0.45 * np.exp(-(((radius - 12.6) / 0.9) ** 2)) * (0.7 + 0.3 * towards)
    layer = np.asarray(shade[..., None] * (0.6 * batch.bottle + 0.16), dtype=np.float32)
    liquid = rng.uniform(0.25, 0.6) * (1.0 - 0.35 * towards * radius / 11.0)
    off_x, off_y = pose.dx - 4.5 * math.cos(lamp_rad), pose.dy - 4.5 * math.sin(lamp_rad)
    gleam = rng.uniform(0.05, 0.35) * np.exp(-(off_x**2 + off_y**2) / rng.uniform(3.0, 14.0))
    _blend(layer, liquid[..., None] * 0.5 * batch.bottle + gleam[..., None], _edge(11.4 - radius))
    _blend(scene, layer, 0.9 * _edge(20.0 - radius))
