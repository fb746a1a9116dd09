"""Statistics of inputs: a few numbers of a bounded sample, so that no input's size shows in the lane.

Of a picture at most about a thousand pixels and their two neighbours are looked at, of a window the last 4,096
readings. Which inputs are looked at is drawn by lot: every n-th would always be the same mould of a machine with n.
`./run bench drift` measures it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge.inference.drift.subject import WatchedInput

    Array = NDArray[np.float64]

PIXELS: Final = 1_024
READINGS: Final = 4_096
GRID: Final = 8  # a picture's layout is the mean light of GRID x GRID cells
_FLOOR: Final = 0.01  # of a channel's span: what a picture's statistic may always change by
_SHARPNESS_FLOOR: Final = 0.003  # the same for the step between neighbours, itself a few hundredths of the span
_TAG_FLOOR: Final = 0.002  # the same for a tag's mean
_NOISE_FLOOR: Final = 0.0005  # for its spread and its steps: a sensor that is stuck has none
_RELATIVE_FLOOR: Final = 0.01  # of the learned value, where no span is known


class InputWindow(msgspec.Struct, frozen=True, array_like=True):
    """What was sampled of the inputs in one window: means and variances over `sampled` inputs, and the mean layout."""

    sampled: int
    means: list[float]
    variances: list[float]
    layout: list[float]


def signal_names(inputs: Sequence[WatchedInput]) -> tuple[str, ...]:
    """Return the name of each statistic, in the order of `InputWindow.means`."""
    found: list[str] = []
    for one in inputs:
        if one.is_image:
            found += [f"{what}_{c}" for what in ("mean", "contrast", "sharpness", "clipped") for c in one.channels]
            found.append("saturation")
        else:
            stats = ("mean", "spread", "step") if one.is_series else ("mean",)
            found += [f"{what}_{c}" for what in stats for c in one.channels]
    return tuple(found)


def floors(inputs: Sequence[WatchedInput], centres: Array) -> Array:
    """Return how far each statistic may always go from its centre: smaller changes matter to nobody."""
    found: list[float] = []
    for one in inputs:
        spans = [span if span is not None else math.nan for span in one.spans]
        if one.is_image:
            found += [span * _FLOOR for span in spans * 2] + [span * _SHARPNESS_FLOOR for span in spans]
            found += [_FLOOR] * len(spans) + [max(spans) * _FLOOR]
        else:
            found += [span * _TAG_FLOOR for span in spans]
            found += [span * _NOISE_FLOOR for span in spans * 2] if one.is_series else []
    known = np.array(found)
    return np.where(np.isnan(known), np.abs(centres) * _RELATIVE_FLOOR + 1e-9, known)


def layout_floor(inputs: Sequence[WatchedInput]) -> float:
    """Return how far a layout may always be from the learned one."""
    spans = [span for one in inputs if one.is_image for span in one.spans if span is not None]
    return _FLOOR * max(spans, default=1.0)


class InputGatherer:
    """Sums up the sampled inputs of one window."""

    def __init__(self, inputs: Sequence[WatchedInput]) -> None:
        """Start empty."""
        self._inputs = inputs
        self._count = len(signal_names(inputs))
        self._cells = GRID * GRID * sum(one.is_image and _fits_grid(one.shape) for one in inputs)
        self.clear()

    def clear(self) -> None:
        """Start a window."""
        self.sampled = 0
        self._sums = np.zeros(self._count)
        self._squares = np.zeros(self._count)
        self._layout = np.zeros(self._cells)

    def see(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take one input's arrays, each [1, ...]."""
        values: list[Array] = []
        cells: list[Array] = []
        for one in self._inputs:
            array = arrays[one.name][0]
            if one.is_image:
                found, grid = _picture(array, len(one.channels), one.dtype, self.sampled)
                values.append(found)
                if grid is not None:
                    cells.append(grid)
            else:
                values.append(_readings(array[..., : len(one.channels)], one.is_series))
        whole = values[0] if len(values) == 1 else np.concatenate(values)
        if not math.isfinite(whole.sum()):
            return
        self._sums += whole
        self._squares += whole * whole
        if cells:
            self._layout += cells[0] if len(cells) == 1 else np.concatenate(cells)
        self.sampled += 1

    def window(self) -> InputWindow:
        """Return what was gathered."""
        count = max(1, self.sampled)
        means = self._sums / count
        variances = np.maximum(self._squares / count - means * means, 0.0)
        return InputWindow(self.sampled, means.tolist(), variances.tolist(), (self._layout / count).tolist())


def _fits_grid(shape: tuple[int, ...]) -> bool:
    step = _step(shape)
    return min(shape[0] - step, shape[1] - step) // step >= GRID  # of any of the grids of sampled pixels


def _step(shape: tuple[int, ...]) -> int:
    return max(1, math.ceil(math.sqrt(shape[0] * shape[1] / PIXELS)))


def _picture(picture: NDArray[Any], channels: int, dtype: str, turn: int) -> tuple[Array, Array | None]:
    """Mean, contrast, sharpness (mean step to the right and downward neighbours) and clipped share by channel; colour.

    `turn` moves the grid of sampled pixels, so that over a window all pixels have their turn.
    """
    height, width, _ = picture.shape
    step = _step(picture.shape)
    top, left = turn % step, (turn // step) % step
    rows, columns = (height - 1 - top) // step, (width - 1 - left) // step
    planes = picture.transpose(2, 0, 1)[:channels]

    def grid(down: int, right: int) -> NDArray[np.float32]:
        y, x = top + down, left + right
        cut = planes[:, y : y + rows * step : step, x : x + columns * step : step]
        return cut.astype(np.float32, order="C").reshape(channels, -1)  # planes: sums along them are fast

    here = grid(0, 0)
    count = float(rows * columns)
    ones = np.ones(rows * columns, dtype=np.float32)
    means = here @ ones / count
    away = here - means[:, None]
    contrast = np.sqrt(np.einsum("ij,ij->i", away, away) / count)
    steps = np.abs(here - grid(0, 1)) + np.abs(here - grid(1, 0))
    sharpness = steps @ ones / (2.0 * count)
    clipped = np.zeros(channels, dtype=np.float32)
    if dtype == "uint8":
        clipped = np.count_nonzero((here <= 0.0) | (here >= 255.0), axis=1) / count
    colour = float((here.max(0) - here.min(0)) @ ones) / count if channels > 1 else 0.0
    found = np.concatenate([means, contrast, sharpness, clipped, [colour]], dtype=np.float64)
    return found, _layout(here, rows, columns) if _fits_grid(picture.shape) else None


def _layout(here: NDArray[np.float32], rows: int, columns: int) -> Array:
    """The mean of each cell around the mean of all: where things are, however bright."""
    high, wide = rows // GRID, columns // GRID
    light = here.sum(0).reshape(rows, columns)[: high * GRID, : wide * GRID]
    cells = light.reshape(GRID, high, GRID * wide).sum(1).reshape(GRID, GRID, wide).sum(2)
    cells *= 1.0 / (high * wide * len(here))
    return np.asarray(cells - cells.mean(), dtype=np.float64).ravel()


def _readings(readings: NDArray[Any], series: bool) -> Array:
    """Mean, deviation and mean step between the last readings, by tag."""
    if not series:
        return np.asarray(readings, dtype=np.float64).ravel()
    values = np.asarray(readings[-READINGS:], dtype=np.float64)
    means = values.mean(0)
    return np.concatenate([means, np.sqrt(((values - means) ** 2).mean(0)), np.abs(np.diff(values, axis=0)).mean(0)])
