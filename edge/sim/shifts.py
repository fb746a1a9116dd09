"""What can happen to a camera or a line after the model was made: changes of pictures and of sensors. SYNTHETIC.

Each picture change takes uint8 RGB [N, H, W, 3] and a severity in physical terms, and works in linear light where a
lamp, a lens or a sensor does. `edge.sim.optics` draws the station's own drifts while a part is rendered; here they are
laid over finished pictures, so that one set of parts can be seen under many conditions. Numpy only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8]
    Light = NDArray[np.float32]

_SQUARE: Final = (np.arange(256, dtype=np.float32) / 255.0) ** 2


def _light(pictures: Pictures) -> Light:
    return _SQUARE[pictures]


def _counts(light: NDArray[np.floating]) -> Pictures:
    return np.asarray(np.sqrt(np.clip(light, 0.0, 1.0)) * np.float32(255.0) + np.float32(0.5), dtype=np.uint8)


def lamp(pictures: Pictures, gain: float, _: np.random.Generator) -> Pictures:
    """The lamp fades or is set brighter (or the exposure changes): all light times `gain`."""
    return _counts(_light(pictures) * np.float32(gain))


def side_light(pictures: Pictures, loss: float, _: np.random.Generator) -> Pictures:
    """One of two lamps fails: light falls by `loss` (0..1) from the left edge to the right."""
    ramp = 1.0 - loss * np.linspace(0.0, 1.0, pictures.shape[2], dtype=np.float32)
    return _counts(_light(pictures) * ramp[None, None, :, None])


def colour_cast(pictures: Pictures, warm: float, _: np.random.Generator) -> Pictures:
    """Another lamp colour or white balance: red times 1 + `warm`, blue times 1 - `warm`."""
    return _counts(_light(pictures) * np.array([1.0 + warm, 1.0, 1.0 - warm], dtype=np.float32))


def defocus(pictures: Pictures, passes: float, _: np.random.Generator) -> Pictures:
    """A lens that has turned: `passes` of a 3 x 3 binomial kernel; the blur's deviation is sqrt(passes / 2) pixels."""
    light = _light(pictures)
    for _turn in range(int(passes)):
        light = _smear(_smear(light, 1), 2)
    return _counts(light)


def motion_blur(pictures: Pictures, passes: float, _: np.random.Generator) -> Pictures:
    """A belt too fast for the exposure: the same, along the belt only."""
    light = _light(pictures)
    for _turn in range(int(passes)):
        light = _smear(light, 2)
    return _counts(light)


def sensor_noise(pictures: Pictures, strength: float, rng: np.random.Generator) -> Pictures:
    """A hot or failing sensor, or gain in place of light: noise that grows with the root of the light."""
    light = _light(pictures)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    return _counts(light + noise * np.float32(strength) * np.sqrt(light + np.float32(0.02)))


def haze(pictures: Pictures, share: float, _: np.random.Generator) -> Pictures:
    """Dirt or steam on the glass: `share` (0..1) of the light is grey veil."""
    return _counts(_light(pictures) * np.float32(1.0 - share) + np.float32(0.30 * share))


def displaced(pictures: Pictures, pixels: float, _: np.random.Generator) -> Pictures:
    """A camera that was knocked: the scene moves by `pixels` along the belt and half of that across; edges repeat."""
    right, down = round(pixels), round(pixels / 2)
    return pictures[:, _moved(pictures.shape[1], down)][:, :, _moved(pictures.shape[2], right)]


def chipped(pictures: Pictures, size: float, rng: np.random.Generator) -> Pictures:
    """A defect that no model has seen: a bite out of the cap's rim, `size` (0..1), through which the belt is seen."""
    out = pictures.copy()
    height, width = out.shape[1:3]
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    for picture in out:
        angle = rng.uniform(-math.pi, math.pi)
        y, x = height / 2 + 19.0 * math.sin(angle), width / 2 + 19.0 * math.cos(angle)
        picture[np.hypot(rows - y, columns - x) < 2.0 + 6.0 * size] = picture[6:10].mean((0, 1)).astype(np.uint8)
    return out


PICTURE_SHIFTS: Final[Mapping[str, Callable[[Pictures, float, np.random.Generator], Pictures]]] = {
    "lamp": lamp,
    "side_light": side_light,
    "colour_cast": colour_cast,
    "defocus": defocus,
    "motion_blur": motion_blur,
    "sensor_noise": sensor_noise,
    "haze": haze,
    "displaced": displaced,
}


def _moved(count: int, by: int) -> NDArray[np.intp]:
    return np.asarray(np.clip(np.arange(count, dtype=np.intp) - by, 0, count - 1), dtype=np.intp)


def _smear(light: Light, axis: int) -> Light:
    """Mix each pixel with its neighbours along `axis`, 1 : 2 : 1; edges repeat."""
    wide = np.concatenate([light.take([0], axis), light, light.take([-1], axis)], axis)
    count = light.shape[axis]

    def part(first: int) -> Light:
        cut: list[Any] = [slice(None)] * light.ndim
        cut[axis] = slice(first, first + count)
        return np.asarray(wide[tuple(cut)], dtype=np.float32)

    return np.asarray(np.float32(0.5) * part(1) + np.float32(0.25) * (part(0) + part(2)), dtype=np.float32)
