"""Cut what was found out of a picture, each in the size that the next model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from edge.config.section import Section
from edge.inference.steps import Spec, Specs, Step, Value
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Options(Section):
    """`size`: [height, width] of a crop in pixels.

    `scale = "keep"` cuts a window of that size around the box's centre, as large as life (moved inside the picture
    where it would stick out); `"fit"` scales the box, made wider or higher to the crop's proportions and by `margin` (a
    share of it), with bilinear weights.
    """

    size: list[Annotated[int, Field(ge=1, le=4096)]] = Field(min_length=2, max_length=2)
    scale: Literal["keep", "fit"] = "fit"
    margin: float = Field(default=0.0, ge=0, le=2)


def make(options: Options, taken: Sequence[Specs]) -> Step:
    """Take a picture [1, H, W, C] uint8 or float32 and `boxes` [M, 4]; give `crops` [M, height, width, C]."""
    specs = [(name, spec) for one in taken for name, spec in one.items()]
    pictures = [spec for _, spec in specs if len(spec.shape) == 3 and spec.dtype in ("uint8", "float32")]
    if len(pictures) != 1 or ("boxes", Spec("float32", (4,))) not in specs:
        found = ", ".join(f"{name}: {spec.dtype} {list(spec.shape)}" for name, spec in specs) or "nothing"
        raise ContractError([f"op crop takes one picture and `boxes` (of nms), and is given {found}"])
    height, width = options.size
    high, wide, channels = pictures[0].shape
    if options.scale == "keep" and (height > high or width > wide):
        raise ContractError([f"op crop: a picture of {high}x{wide} has no room for a crop of {height}x{width}"])
    gives = {"crops": Spec(pictures[0].dtype, (height, width, channels))}
    return Crop(height, width, options.scale == "keep", options.margin, gives)


@dataclass(frozen=True)
class Crop:
    """See `make`."""

    height: int
    width: int
    keep: bool
    margin: float
    gives: Specs
    rowwise: bool = False
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Cut each box."""
        value = {name: array for one in taken for name, array in one.items()}
        boxes = value.pop("boxes")
        picture = next(array[0] for array in value.values() if array.ndim == 4)
        cut = self._window if self.keep else self._scaled
        spec = self.gives["crops"]
        crops = np.empty((len(boxes), *spec.shape), spec.dtype)
        for index, box in enumerate(boxes.tolist()):
            crops[index] = cut(picture, *box)
        return {"crops": crops}

    def _window(self, picture: NDArray[Any], x0: float, y0: float, x1: float, y1: float) -> NDArray[Any]:
        high, wide = picture.shape[:2]
        top = min(max(round((y0 + y1 - self.height) / 2), 0), high - self.height)
        left = min(max(round((x0 + x1 - self.width) / 2), 0), wide - self.width)
        return picture[top : top + self.height, left : left + self.width]

    def _scaled(self, picture: NDArray[Any], x0: float, y0: float, x1: float, y1: float) -> NDArray[Any]:
        wide, high = max(x1 - x0, 1.0) * (1 + self.margin), max(y1 - y0, 1.0) * (1 + self.margin)
        scale = max(wide / self.width, high / self.height)
        rows, row_share = _positions((y0 + y1) / 2, scale, self.height, picture.shape[0])
        columns, column_share = _positions((x0 + x1) / 2, scale, self.width, picture.shape[1])
        upper, lower = picture[rows], picture[np.minimum(rows + 1, picture.shape[0] - 1)]
        right = np.minimum(columns + 1, picture.shape[1] - 1)
        down, along = row_share[:, None, None], column_share[None, :, None]
        first = upper[:, columns] * (1 - along) + upper[:, right] * along
        second = lower[:, columns] * (1 - along) + lower[:, right] * along
        found: NDArray[Any] = first * (1 - down) + second * down
        return np.rint(found) if picture.dtype == np.uint8 else found


def _positions(centre: float, scale: float, count: int, limit: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the pixel before each sample and the share of the one after it; what lies outside is the edge's."""
    at = np.clip(centre - 0.5 + (np.arange(count) - (count - 1) / 2) * scale, 0, limit - 1)
    before = np.floor(at).astype(np.intp)
    return before, at - before
