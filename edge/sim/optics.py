"""The simulated camera station: lamp, lens, sensor. Turns a scene in linear light into an 8-bit picture. SYNTHETIC."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

SIZE: Final = 64  # pixels of a picture of one part, both ways
GRAIN_PX: Final = 256

_GAMMA: Final = (255.0 * (np.arange(4096) / 4095.0) ** (1 / 2.0) + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Optics:
    """State of the station, for showing drift: a lamp that fades, a lens out of focus, dirt on the glass (0..1)."""

    lamp: float = 1.0
    defocus_px: int = 0
    dirt: float = 0.0


CLEAN: Final = Optics()


@lru_cache(maxsize=1)
def grain() -> Plane:
    """Fine surface texture, zero mean, deviation 1, as a GRAIN_PX x GRAIN_PX tile that pictures cut pieces from."""
    noise = np.random.default_rng(7).standard_normal((GRAIN_PX, GRAIN_PX)).astype(np.float32)
    smooth = noise + 0.7 * (np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) + 0.5 * np.roll(noise, (1, 1), (0, 1))
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


@lru_cache(maxsize=4)
def _off_centre(high: int, wide: int) -> tuple[Plane, Plane]:
    """How far each pixel lies off the centre, in pixels of a small picture: a large one is no more uneven."""
    y, x = np.meshgrid(np.arange(high, dtype=np.float32), np.arange(wide, dtype=np.float32), indexing="ij")
    shrink = np.float32((SIZE - 1) / (max(high, wide) - 1))
    return (x - np.float32((wide - 1) / 2)) * shrink, (y - np.float32((high - 1) / 2)) * shrink


def expose(scene: Plane, rng: np.random.Generator, optics: Optics) -> NDArray[np.uint8]:
    """The lamp's gradient and tint, motion blur along the belt, focus, then sensor noise and an 8-bit gamma curve."""
    slope_x, slope_y = rng.uniform(-0.0035, 0.0035, 2)
    off_x, off_y = _off_centre(*scene.shape[:2])
    vignette = 1.0 - 0.00011 * (off_x**2 + off_y**2)
    field = optics.lamp * rng.uniform(0.85, 1.12) * vignette * (1.0 + slope_x * off_x + slope_y * off_y)
    tint = rng.uniform(0.95, 1.05, 3).astype(np.float32)
    image = scene * field[..., None].astype(np.float32) * tint
    image = _smear(image, 1, float(rng.uniform(0.0, 0.30)))
    for _ in range(1 + 2 * optics.defocus_px):
        image = _smear(_smear(image, 0, 0.16), 1, 0.16)
    if optics.dirt > 0.0:
        high, wide = scene.shape[:2]
        smears = grain()[: -(-high // 8), : -(-wide // 8)].repeat(8, 0).repeat(8, 1)[:high, :wide]
        haze = np.clip(smears * 0.2 + 0.5, 0.0, 1.0)[..., None]
        image += optics.dirt * haze * (0.30 - image)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.float32(rng.uniform(0.004, 0.010)) * np.sqrt(np.maximum(image, 0.0) + 0.02) * 1.6
    return np.asarray(_GAMMA[np.clip(image * 4095.0, 0.0, 4095.0).astype(np.int16)])


def _smear(image: Plane, axis: int, weight: float) -> Plane:
    """Mix each pixel with both neighbours along `axis`, each with `weight`; borders keep their own value."""
    out = image * np.float32(1.0 - 2.0 * weight)
    before, after = [slice(None)] * 3, [slice(None)] * 3
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    lower, upper = tuple(before), tuple(after)
    out[upper] += np.float32(weight) * image[lower]
    out[lower] += np.float32(weight) * image[upper]
    first, last = [slice(None)] * 3, [slice(None)] * 3
    first[axis], last[axis] = slice(0, 1), slice(-1, None)
    for border in (tuple(first), tuple(last)):
        out[border] += np.float32(weight) * image[border]
    return out
