"""Batches on their way through a graph: one, or several side by side. Nothing here looks at a pipeline's state."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.inference.work import Times
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edge.inference.graph import Graph
    from edge.inference.work import Work


class Ran(NamedTuple):
    """What a run gave: every step's outputs, or the `problem` why there are none."""

    batch: list[Work]
    times: Times
    outputs: Mapping[str, Any]
    problem: str = ""


def run(graph: Graph, batch: list[Work], taken_ns: int, clock: Callable[[], int]) -> Ran:
    """Put a batch together and run it. Touches nothing but the graph's sessions."""
    inputs = [work.inputs for work in batch if work.inputs is not None]
    ready_ns = taken_ns
    try:
        together = inputs[0] if len(inputs) == 1 else _together(inputs)
        ready_ns = clock()
        outputs = graph.run(together)
    except ContractError as error:
        return Ran(batch, Times(taken_ns, ready_ns, clock()), {}, str(error))
    return Ran(batch, Times(taken_ns, ready_ns, clock()), outputs)


class Beside:
    """Threads for the batches that run beside the first, which runs in the caller's thread."""

    def __init__(self, name: str, threads: int) -> None:
        """Have them started when they are first needed, so that they inherit the scheduling class."""
        self._pool = ThreadPoolExecutor(threads, f"{name}-instance") if threads else None

    def run(self, jobs: Sequence[Callable[[], Ran]]) -> list[Ran]:
        """Carry out all, in the order of the jobs. A model releases the interpreter while it computes."""
        if len(jobs) == 1 or self._pool is None:
            return [job() for job in jobs]
        others = [self._pool.submit(job) for job in jobs[1:]]
        return [jobs[0](), *(other.result() for other in others)]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _together(inputs: list[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
