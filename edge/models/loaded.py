"""A model in memory, ready to serve: verified, its golden vectors compared, warm and timed in every batch size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from resource import RUSAGE_THREAD, getrusage
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.engines import Engine, Session, Tensor, tensors_in
from edge.models.contract import Contract, Golden
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

# A load stays short, and its thread shares the cores with the model that serves: per batch size, no more than this.
_RUNS: Final = 40
_ROUNDS: Final = 5
_BUDGET_NS: Final = 150_000_000


@dataclass(frozen=True)
class LoadedModel:
    """What a pipeline runs. `batches` are the warm sizes, ascending; `golden` is one vector, for the self-test.

    `p50_ms` and `worst_ms` are the times of one run by batch size, measured when it was loaded. Runs in which
    the thread was preempted don't count: they measure the others, such as the model that serves meanwhile. The worst is
    the median of several rounds' worst: one stall of the machine (a hypervisor's steal) must not refuse a model for
    good, and some tens of runs could not measure such stalls anyway.
    """

    contract: Contract
    session: Session
    inputs: tuple[Tensor, ...]
    batches: tuple[int, ...]
    golden: Golden
    p50_ms: Mapping[int, float]
    worst_ms: Mapping[int, float]
    engine: Engine

    @property
    def dtype(self) -> str:
        """Of the first input, the only one of most models."""
        return self.inputs[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first input, without the batch axis."""
        return self.inputs[0].shape

    @property
    def size(self) -> int:
        """Bytes of one first input."""
        return self.inputs[0].size

    def batch(self, waiting: int) -> int:
        """Return the largest warm batch size of at most `waiting`, 0 for none."""
        return max((size for size in self.batches if size <= waiting), default=0)

    def zeros(self, batch: int) -> dict[str, NDArray[Any]]:
        """Return a feed of `batch` inputs that are all zero."""
        return {tensor.name: np.zeros((batch, *tensor.shape), tensor.dtype) for tensor in self.inputs}

    def golden_batch(self, batch: int) -> dict[str, NDArray[Any]]:
        """Return a feed of `batch` times the golden vector."""
        return _resized(self.golden.inputs, batch)

    def prove(self) -> str:
        """Run one golden vector now; return "" if it gives what it must, else how it differs."""
        try:
            problems = self.golden.problems(self.session.run(self.golden.inputs))
        except ContractError as error:
            return f"selftest: {error}"
        return f"selftest: {'; '.join(problems)}" if problems else ""


def load_model(folder: Path, engine: Engine, digest: str = "") -> LoadedModel:
    """Load a model folder; blocks for tenths of seconds. `digest`: of the model that is expected, "" for any.

    Raises:
        ContractError: the folder, its digest, its shapes, or its answers to the golden vectors are wrong.
    """
    contract = Contract.load(folder)
    if digest and digest != contract.sha256:
        raise ContractError([f"{folder}: holds {contract.sha256}, asked for is {digest}; fetch the model again"])
    inputs, golden = tensors_in(contract), contract.read_golden()
    session = engine.load(contract)
    batches = tuple(sorted({1, *contract.warm_batches}))
    try:
        _check_golden(folder, session, golden)
        times = {size: _times_ms(session, _resized(golden.inputs, size)) for size in batches}
    except ContractError:
        session.close()
        raise
    p50_ms = {size: float(np.median(times_ms)) for size, times_ms in times.items()}
    worst_ms = {size: _worst_ms(times_ms) for size, times_ms in times.items()}
    return LoadedModel(contract, session, inputs, batches, _first(golden), p50_ms, worst_ms, engine)


def _check_golden(folder: Path, session: Session, golden: Golden) -> None:
    if problems := golden.problems(session.run(golden.inputs)):
        raise ContractError(
            [f"{folder}: {problem}; this engine does not run it as it was made" for problem in problems]
        )


def _times_ms(session: Session, feed: Mapping[str, NDArray[Any]]) -> list[float]:
    """Run a batch until it is warm, then time it; at least once, however long it takes."""
    session.run(feed)
    undisturbed: list[float] = []
    found: list[float] = []
    end_ns = time.monotonic_ns() + _BUDGET_NS
    while not found or (len(found) < _RUNS and time.monotonic_ns() < end_ns):
        preempted, start_ns = getrusage(RUSAGE_THREAD).ru_nivcsw, time.monotonic_ns()
        session.run(feed)
        found.append((time.monotonic_ns() - start_ns) / 1e6)
        if getrusage(RUSAGE_THREAD).ru_nivcsw == preempted:
            undisturbed.append(found[-1])
    return undisturbed or found


def _worst_ms(times_ms: list[float]) -> float:
    rounds = [times_ms[first::_ROUNDS] for first in range(min(_ROUNDS, len(times_ms)))]
    return float(np.median([max(of_round) for of_round in rounds]))


def _resized(inputs: Mapping[str, NDArray[Any]], batch: int) -> dict[str, NDArray[Any]]:
    """Repeat the golden inputs to a batch: zeros can be faster than life (boxes to suppress, branches not taken)."""
    return {name: np.resize(value, (batch, *value.shape[1:])) for name, value in inputs.items()}


def _first(golden: Golden) -> Golden:
    """One vector, for the self-test."""
    inputs: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(value[:1]) for name, value in golden.inputs.items()}
    outputs = {name: value[:1] for name, value in golden.outputs.items()}
    return Golden(inputs, outputs, golden.tolerance)
