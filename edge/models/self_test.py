"""A self-test of a model that serves: it is loaded once more, beside itself, and answers its golden vectors.

The session that serves is not touched: its calls come from the lane's thread alone. What is shown is that the files are
still what was accepted, and that this machine still computes with them as it must; that the model in memory does is
shown by the lane's own self-test, whenever the line is idle.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.host.memory import give_back
from edge.models.contract import Contract
from schemas.errors import ContractError

if TYPE_CHECKING:
    from edge.models.loaded import LoadedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What a self-test found. `deviation`: the largest, None where nothing can be compared; `problem`: "" for none."""

    problem: str = ""
    vectors: int = 0
    deviation: float | None = None
    tolerance: float = 0.0
    took_ms: float = 0.0


def check_again(model: LoadedModel) -> Findings:
    """Load the folder of `model` anew and compare; blocks as long as a load does, on whichever thread calls it."""
    started_ns = time.monotonic_ns()
    try:
        problem, vectors, deviation = _compared(model)
    except ContractError as error:
        problem, vectors, deviation = str(error), 0, None
    except Exception as error:  # whatever a damaged file makes a library raise
        log.exception("%s %s is not tested", model.contract.name, model.contract.version)
        problem, vectors, deviation = f"can't be loaded: {error!r}", 0, None
    finally:
        give_back()
    took_ms = (time.monotonic_ns() - started_ns) / 1e6
    return Findings(problem, vectors, deviation, model.contract.golden.tolerance, took_ms)


def _compared(model: LoadedModel) -> tuple[str, int, float | None]:
    """Return what is wrong, how many vectors were run, and how far their answers lie from what they must be."""
    contract = Contract.load(model.contract.folder)
    if contract.sha256 != model.contract.sha256:
        raise ContractError([f"{contract.folder}: holds {contract.sha256}, what serves is {model.contract.sha256}"])
    golden, session = contract.read_golden(), model.engine.load(contract)
    try:
        answers = session.run(golden.inputs)
    finally:
        session.close()
    return "; ".join(golden.problems(answers)), golden.count, golden.deviation(answers)
