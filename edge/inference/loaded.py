"""A model in memory, ready to serve: verified, warm in every batch size, its golden vectors compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.engines import Engine, Session, only_input
from edge.inference.contract import Contract, Golden
from schemas.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class LoadedModel:
    """What a pipeline runs. `shape` and `size` (bytes) are of one input; `batches` are the warm sizes, ascending."""

    contract: Contract
    session: Session
    dtype: str
    shape: tuple[int, ...]
    size: int
    batches: tuple[int, ...]
    golden: Golden

    def batch(self, waiting: int) -> int:
        """Return the largest warm batch size of at most `waiting`, 0 for none."""
        return max((size for size in self.batches if size <= waiting), default=0)

    def prove(self) -> str:
        """Run one golden vector now; return "" if it gives what it must, else how it differs."""
        try:
            problems = self.golden.problems(self.session.run(*self.golden.inputs.values()))
        except ContractError as error:
            return f"selftest: {error}"
        return f"selftest: {'; '.join(problems)}" if problems else ""


def load_model(folder: Path, engine: Engine, digest: str = "") -> LoadedModel:
    """Load a model folder; blocks for tens of milliseconds. `digest`: of the model that is expected, "" for any.

    Raises:
        ContractError: the folder, its digest, its shapes, or its answers to the golden vectors are wrong.
    """
    contract = Contract.load(folder)
    if digest and digest != contract.sha256:
        raise ContractError([f"{folder}: holds {contract.sha256}, asked for is {digest}; fetch the model again"])
    _, dtype, shape = only_input(contract)
    golden = contract.read_golden()
    session = engine.load(contract)
    try:
        _check_golden(folder, session, golden)
        batches = tuple(sorted({1, *contract.warm_batches}))
        for count in batches:
            session.run(np.zeros((count, *shape), dtype))
    except ContractError:
        session.close()
        raise
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    return LoadedModel(contract, session, dtype, shape, size, batches, _first(golden))


def _check_golden(folder: Path, session: Session, golden: Golden) -> None:
    if problems := golden.problems(session.run(*golden.inputs.values())):
        raise ContractError(
            [f"{folder}: {problem}; this engine does not run it as it was made" for problem in problems]
        )


def _first(golden: Golden) -> Golden:
    """One vector, for the self-test."""
    inputs: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(value[:1]) for name, value in golden.inputs.items()}
    outputs = {name: value[:1] for name, value in golden.outputs.items()}
    return Golden(inputs, outputs, golden.tolerance)
