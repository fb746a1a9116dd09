"""How far from normal, in standard deviations: of a known mean, or of the window's own.

With `mean` and `std` every value is scaled, as a model was trained on; without them the newest row is compared with
the window that it ends, which finds jumps of a signal whose level nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import model_validator

from edge.config.section import Section
from edge.inference.steps import Spec, Specs, Step, Value, only
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FLAT = 1e-9  # a window that does not move has no deviation to measure by


class Options(Section):
    """`mean` and `std` of each column, in the order of the tags; both or neither."""

    mean: list[float] = []
    std: list[float] = []

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("`mean` and `std` have one number for each column, both of them")
        if any(std <= 0 for std in self.std):
            raise ValueError("a standard deviation is over 0")
        return self


def make(options: Options, taken: Sequence[Specs]) -> Step:
    """Take [N, length, columns]; give `zscore`: [N, length, columns] by known figures, [N, columns] by its own."""
    spec = only("zscore", taken, 2)
    columns = spec.shape[1]
    if not options.mean:
        return OwnScore({"zscore": Spec("float32", (columns,))})
    if len(options.mean) != columns:
        raise ContractError([f"op zscore has {len(options.mean)} means for {columns} columns"])
    return KnownScore(np.array(options.mean), np.array(options.std), {"zscore": Spec("float32", spec.shape)})


@dataclass(frozen=True)
class KnownScore:
    """Scales by known figures."""

    mean: NDArray[Any]
    std: NDArray[Any]
    gives: Specs
    rowwise: bool = True
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Scale every value."""
        (window,) = taken[0].values()
        return {"zscore": ((window - self.mean) / self.std).astype(np.float32)}


@dataclass(frozen=True)
class OwnScore:
    """Compares the newest row with the rows before it."""

    gives: Specs
    rowwise: bool = True
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Score the last row of each window."""
        (window,) = taken[0].values()
        values: Any = window.astype(np.float64)
        before: NDArray[Any] = values[:, :-1]
        newest: NDArray[Any] = values[:, -1]
        if before.shape[1] == 0:
            return {"zscore": np.zeros(newest.shape, np.float32)}
        std = before.std(axis=1)
        scale = np.maximum(std, _FLAT * np.maximum(1.0, np.abs(before).max(axis=1)))
        scores: NDArray[Any] = (newest - before.mean(axis=1)) / scale
        return {"zscore": scores.astype(np.float32)}
