"""Root mean square of each column of a window, without its mean: the strength of what swings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.config.section import Section
from edge.inference.steps import Spec, Specs, Step, Value, only

if TYPE_CHECKING:
    from collections.abc import Sequence


class Options(Section):
    """`remove_mean = false` keeps what stands still (gravity, an offset) in the figure."""

    remove_mean: bool = True


def make(options: Options, taken: Sequence[Specs]) -> Step:
    """Take [N, length, columns], give `rms` [N, columns] float32."""
    spec = only("rms", taken, 2)
    return Rms(options.remove_mean, {"rms": Spec("float32", (spec.shape[1],))})


@dataclass(frozen=True)
class Rms:
    """See `make`."""

    remove_mean: bool
    gives: Specs
    rowwise: bool = True
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Compute the figure in float64."""
        (window,) = taken[0].values()
        values: Any = window.astype(np.float64)
        if self.remove_mean:
            values = values - values.mean(axis=1, keepdims=True)
        return {"rms": np.sqrt(np.mean(values * values, axis=1)).astype(np.float32)}
