"""Several features side by side: each flattened, in the order in which they are taken."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edge.config.section import Section
from edge.inference.steps import Spec, Specs, Step, Value
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Options(Section):
    """None."""


def make(_: Options, taken: Sequence[Specs]) -> Step:
    """Take tensors of any shape, give `features` [N, all of them] float32."""
    width = sum(prod(spec.shape) for specs in taken for spec in specs.values())
    if not width:
        raise ContractError(["op concat is given nothing to put side by side; name the steps that it takes"])
    return Concat({"features": Spec("float32", (width,))})


@dataclass(frozen=True)
class Concat:
    """See `make`."""

    gives: Specs
    rowwise: bool = True
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Flatten and join."""
        flat = [array.reshape(len(array), -1) for value in taken for array in value.values()]
        return {"features": np.concatenate(flat, axis=1).astype(np.float32)}
