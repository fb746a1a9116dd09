"""A bottle from above, drawn by formulas: belt and guide rails, shoulder, cap or open neck, and what may be wrong.

All is drawn into patches in linear light: `edge.sim.parts` shows one bottle per picture, `edge.sim.tray` several. What
is random is drawn from the caller's generator, in an order that must stay: a picture is made again from its numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edge.sim.optics import GRAIN_PX, SIZE, grain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

Kind = Literal["scratch", "blob", "missing_cap"]
KINDS: Final[tuple[Kind, ...]] = ("scratch", "blob", "missing_cap")

_FACE_PX: Final = 17.5  # radius of the flat face, where scratches and blobs lie
_CAP_PX: Final = 22.0  # outer radius of the ribbed skirt
SHOULDER_PX: Final = 27.5
_RAIL_PX: Final = 4.0


@dataclass(frozen=True)
class Defect:
    """What is wrong with a part. `size` and `contrast` run from 0 (the least that counts) to 1 (plain to see)."""

    kind: Kind
    size: float = 0.5
    contrast: float = 0.5


@dataclass(frozen=True)
class Batch:
    """What all parts of one seed share. Colours are linear RGB in 0..1."""

    cap: Plane
    bottle: Plane
    belt: Plane
    lamp_rad: float
    ribs: int
    emblem_arms: int
    slat_px: float


@dataclass(frozen=True)
class Pose:
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


def draw_bottle(
    scene: Plane, rng: np.random.Generator, batch: Batch, pose: Pose, lamp_rad: float, defect: Defect | None
) -> None:
    """Draw a bottle over what a patch [64, 64, 3] shows already."""
    _shade_shoulder(scene, rng, batch, pose, lamp_rad)
    if defect is not None and defect.kind == "missing_cap":
        _draw_neck(scene, rng, batch, pose, lamp_rad)
        return
    face = _cap_face(rng, batch, pose, lamp_rad)
    _mark_dust(face, rng, pose)
    if defect is not None:
        (_scratch if defect.kind == "scratch" else _blob)(face, rng, pose, defect)
    blend(scene, face, edge_cover(_CAP_PX - pose.radius))


@lru_cache(maxsize=256)
def batch_of(seed: int) -> Batch:
    """Return the batch of a seed."""
    rng = np.random.default_rng((seed, 0, 2))
    cap = _CAP_COLOURS[rng.integers(len(_CAP_COLOURS))] * rng.uniform(0.8, 1.2) + rng.uniform(0.0, 0.02, 3)
    bottle = _BOTTLE_COLOURS[rng.integers(len(_BOTTLE_COLOURS))] * rng.uniform(0.85, 1.15)
    belt = rng.uniform(0.06, 0.17) * np.array([0.92, 1.0, 1.06]) * rng.uniform(0.94, 1.06, 3)
    return Batch(
        cap=np.clip(cap, 0.02, 0.85).astype(np.float32),
        bottle=bottle.astype(np.float32),
        belt=belt.astype(np.float32),
        lamp_rad=float(rng.uniform(-np.pi, np.pi)),
        ribs=int(rng.integers(36, 49)),
        emblem_arms=int(rng.integers(3, 6)),
        slat_px=float(rng.uniform(14.0, 20.0)),
    )


def _cut_grain(rng: np.random.Generator, high: int, wide: int) -> Plane:
    top, left = rng.integers(0, [max(GRAIN_PX - high, 1), max(GRAIN_PX - wide, 1)])
    return grain()[top : top + high, left : left + wide]


def edge_cover(depth_px: Plane) -> Plane:
    """Coverage of a pixel that lies `depth_px` inside a shape's outline: antialiased over one pixel."""
    return np.asarray(np.clip(depth_px + 0.5, 0.0, 1.0))


def blend(scene: Plane, layer: NDArray[np.floating], cover: Plane) -> None:
    """Lay a layer over a scene where it covers it."""
    scene += (layer - scene) * cover[..., None]


def pose_in_guide(rng: np.random.Generator) -> Pose:
    """Stand a bottle between the rails, near the middle of a patch of `SIZE`."""
    x, y = np.clip(rng.normal(31.5, (1.6, 0.9)), 28.0, 35.0)
    size = rng.uniform(0.96, 1.04)
    return pose_at(float(x), float(y), size, float(rng.uniform(-np.pi, np.pi)), SIZE)


def pose_at(x: float, y: float, size: float, turn_rad: float, patch_px: int) -> Pose:
    """Stand a bottle at x, y of a square patch; `size` 1 is the nominal one."""
    place, scale = np.arange(patch_px, dtype=np.float32), np.float32(1.0 / size)
    dx, dy = (place[None, :] - np.float32(x)) * scale, (place[:, None] - np.float32(y)) * scale
    dx, dy = np.broadcast_arrays(dx, dy)
    return Pose(x, y, dx, dy, np.hypot(dx, dy), np.arctan2(dy, dx), turn_rad)


def draw_belt(rng: np.random.Generator, batch: Batch, wide: int = SIZE) -> Plane:
    """Return a conveyor of `SIZE` rows: slats that move with the part's phase, and the two steel guide rails."""
    phase = (np.arange(wide, dtype=np.float32) + rng.uniform(0.0, batch.slat_px)) % batch.slat_px
    slats = 1.0 - 0.55 * np.exp(-(((phase - 2.0) / 0.9) ** 2)) + 0.18 * np.exp(-(((phase - 4.2) / 1.0) ** 2))
    grey = slats[None, :] * (1.0 + 0.10 * _cut_grain(rng, SIZE, wide))
    rows = np.arange(SIZE, dtype=np.float32)[:, None]
    rail_depth = np.maximum(_RAIL_PX - rows, rows - (SIZE - 1 - _RAIL_PX)) + rng.normal(0.0, 0.25)
    rail = 0.34 + 0.30 * np.exp(-(((rail_depth - 2.0) / 1.1) ** 2))
    cover = np.clip(rail_depth + 0.5, 0.0, 1.0)
    shadow = 1.0 - 0.5 * np.clip(1.0 + rail_depth / 3.0, 0.0, 1.0) * (1.0 - cover)
    scene = (grey * shadow)[..., None] * batch.belt
    scene += (rail[..., None] - scene) * cover[..., None]
    return np.asarray(scene, dtype=np.float32)


def _shade_shoulder(scene: Plane, rng: np.random.Generator, batch: Batch, pose: Pose, lamp_rad: float) -> None:
    """Cast the bottle's soft shadow, then lay its translucent shoulder over the belt, bright towards the lamp."""
    away_x, away_y = -4.0 * math.cos(lamp_rad), -4.0 * math.sin(lamp_rad)
    shadow = np.clip((SHOULDER_PX + 3.0 - np.hypot(pose.dx - away_x, pose.dy - away_y)) / 6.0, 0.0, 1.0)
    scene *= (1.0 - 0.45 * shadow)[..., None]
    towards = np.cos(pose.angle - lamp_rad)
    slope = (pose.radius - _CAP_PX) / (SHOULDER_PX - _CAP_PX)
    shine = 0.55 + 0.20 * towards + 0.35 * np.exp(-(((slope - 0.85) / 0.16) ** 2)) * (0.6 + 0.4 * towards)
    glint = np.exp(-(((slope - 0.45) / 0.2) ** 2)) * np.clip(towards, 0.0, 1.0) ** 12
    layer = (shine[..., None] * batch.bottle) + (0.5 * rng.uniform(0.3, 1.0) * glint)[..., None]
    blend(scene, layer, 0.72 * edge_cover(SHOULDER_PX - pose.radius))


def _cap_face(rng: np.random.Generator, batch: Batch, pose: Pose, lamp_rad: float) -> Plane:
    """The cap's colour and shading for the whole picture; only the disc of radius `_CAP_PX` is used."""
    radius, towards = pose.radius, np.cos(pose.angle - lamp_rad)
    skirt = edge_cover(radius - _FACE_PX - 1.5)
    bevel = np.exp(-(((radius - _FACE_PX - 0.8) / 1.1) ** 2))
    ribs = np.cos(batch.ribs * (pose.angle - pose.turn_rad))
    shade = 0.92 + 0.06 * towards * np.minimum(radius / _FACE_PX, 1.0) + 0.035 * _cut_grain(rng, *pose.radius.shape)
    shade += bevel * 0.34 * towards - skirt * (0.30 - 0.20 * ribs - 0.10 * towards)
    shade += 0.14 * towards * np.sin((radius - 13.6) * 2.2) * np.exp(-(((radius - 13.6) / 0.9) ** 2))
    shade += _emblem(batch, pose, lamp_rad)
    glare_r = rng.uniform(6.0, 11.0)
    off_x, off_y = pose.dx - glare_r * math.cos(lamp_rad), pose.dy - glare_r * math.sin(lamp_rad)
    glare = rng.uniform(0.03, 0.13) * np.exp(-(off_x**2 + off_y**2) / rng.uniform(20.0, 50.0))
    rim = 0.10 * bevel * np.clip(towards, 0.0, 1.0) ** 3
    return np.asarray(np.maximum(shade, 0.1)[..., None] * batch.cap + (glare + rim)[..., None], dtype=np.float32)


def _emblem(batch: Batch, pose: Pose, lamp_rad: float) -> Plane:
    """Relief of the embossed star in the middle: lit on one flank, dark on the other; turns with the cap."""
    half = np.pi / batch.emblem_arms
    sector = (pose.angle - pose.turn_rad) % (2.0 * half) - half
    outline = 5.2 + 2.6 * np.cos(batch.emblem_arms * (pose.angle - pose.turn_rad))
    depth = (outline - pose.radius) / 1.3
    flank = np.exp(-(depth**2))
    return np.asarray(0.22 * flank * np.cos(pose.angle - lamp_rad + 0.6 * sector), dtype=np.float32)


def _mark_dust(face: Plane, rng: np.random.Generator, pose: Pose) -> None:
    """Specks of dust that the line tolerates: at most one pixel wide and faint."""
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-14.0, 14.0, 2)
        speck = np.exp(-((pose.dx - at[0]) ** 2 + (pose.dy - at[1]) ** 2) / 0.35)
        face += (rng.uniform(-0.05, 0.06) * speck)[..., None]


def _tone(face: Plane, pose: Pose, rng: np.random.Generator, contrast: float) -> float:
    """Signed brightness step of a mark: light on dark caps, dark on light ones, relative to what the eye sees there."""
    cap = float(face[int(pose.y), int(pose.x)].mean())
    step = (0.07 + 0.20 * contrast) * (0.35 + 1.3 * cap)
    return -step if cap > 0.5 or (cap > 0.16 and rng.random() < 0.35) else step * 1.25


def _scratch(face: Plane, rng: np.random.Generator, pose: Pose, defect: Defect) -> None:
    """A thin, slightly bent groove: a bright or dark line with the burr's opposite tone beside it."""
    length, half_width = 10.0 + 17.0 * defect.size, 0.38 + 0.5 * defect.size * rng.random()
    off = rng.uniform(0.0, max(1.0, 15.0 - length / 2.0))
    spin, heading = rng.uniform(-np.pi, np.pi, 2)
    dx, dy = pose.dx - off * math.cos(spin), pose.dy - off * math.sin(spin)
    along = dx * math.cos(heading) + dy * math.sin(heading)
    across = dy * math.cos(heading) - dx * math.sin(heading) - rng.normal(0.0, 0.008) * along**2
    ends = np.clip((length / 2.0 - np.abs(along)) / 2.0 + 0.5, 0.0, 1.0) * edge_cover(_FACE_PX - pose.radius)
    line = np.exp(-((across / (half_width + 0.35)) ** 2))
    burr = np.exp(-(((across - 1.3) / 0.7) ** 2))
    face += (_tone(face, pose, rng, defect.contrast) * ends * (line - 0.3 * burr))[..., None]


def _blob(face: Plane, rng: np.random.Generator, pose: Pose, defect: Defect) -> None:
    """A lump or stain with a soft, uneven outline: grease, glue or paint."""
    off, spin = 14.5 * math.sqrt(rng.random()), rng.uniform(-np.pi, np.pi)
    dx, dy = pose.dx - off * math.cos(spin), pose.dy - off * math.sin(spin)
    angle, wobble = np.arctan2(dy, dx), rng.uniform(-np.pi, np.pi, 2)
    outline = (1.5 + 3.5 * defect.size) * (
        1.0 + 0.18 * np.cos(2 * angle + wobble[0]) + 0.12 * np.cos(3 * angle + wobble[1])
    )
    cover = np.clip((outline - np.hypot(dx, dy)) / rng.uniform(0.8, 1.6) + 0.5, 0.0, 1.0) * edge_cover(
        _FACE_PX + 1.0 - pose.radius
    )
    tint = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    face += (_tone(face, pose, rng, defect.contrast) * 1.15 * cover)[..., None] * tint


def _draw_neck(scene: Plane, rng: np.random.Generator, batch: Batch, pose: Pose, lamp_rad: float) -> None:
    """The open bottle: support ring, thread, wall and the dark bore with the liquid's reflection."""
    radius, towards = pose.radius, np.cos(pose.angle - lamp_rad)
    swirl = np.cos(pose.angle - pose.turn_rad)
    shade = (
        0.62
        + 0.16 * towards
        + 0.30 * np.exp(-(((radius - 18.6) / 0.8) ** 2))
        + 0.04 * _cut_grain(rng, *pose.radius.shape)
    )
    shade += 0.28 * np.exp(-(((radius - 15.6 - 0.7 * swirl) / 0.7) ** 2)) * (0.6 + 0.4 * towards)
    shade += 0.45 * np.exp(-(((radius - 12.6) / 0.9) ** 2)) * (0.7 + 0.3 * towards)
    layer = np.asarray(shade[..., None] * (0.6 * batch.bottle + 0.16), dtype=np.float32)
    liquid = rng.uniform(0.25, 0.6) * (1.0 - 0.35 * towards * radius / 11.0)
    off_x, off_y = pose.dx - 4.5 * math.cos(lamp_rad), pose.dy - 4.5 * math.sin(lamp_rad)
    gleam = rng.uniform(0.05, 0.35) * np.exp(-(off_x**2 + off_y**2) / rng.uniform(3.0, 14.0))
    blend(layer, liquid[..., None] * 0.5 * batch.bottle + gleam[..., None], edge_cover(11.4 - radius))
    blend(scene, layer, 0.9 * edge_cover(20.0 - radius))
