"""ONNX Runtime on the CPU: one thread, no spinning, no arena, plain `run`. Always there.

Options: `threads` (1) per model. More than one helps where the lane has cores of its own; on a small device the threads
of two lanes fight for the same cores.

Measured (`./run bench engines`, docs/explanation/measured.md): IO binding, with the input rebound for each run or
copied into a fixed buffer, changes p50 by at most 2 % at 64x64x3 and 224x224x3, batch 1 and 8, so there is none. The
arena changes it as little, but for 3 % at 224x224x3, batch 8; with it each session would keep its own peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from edge.config.section import Section
from edge.engines import PLAIN, Session, Setup, tensors_in, verified_model
from edge.models.ort_session import CPU, ORT_VERSION, open_session

if TYPE_CHECKING:
    from edge.models.contract import Contract


class Options(Section):
    """`[runtime.options.cpu]`."""

    threads: int = Field(default=1, ge=1, le=64)


def missing() -> str:
    """Return ""; see `edge.engines.EngineFile`."""
    return ""


def version() -> str:
    """Return what runs the models; see `edge.engines.Engine`."""
    return f"onnxruntime {ORT_VERSION}"


def load(contract: Contract, setup: Setup = PLAIN) -> Session:
    """Load a model; see `edge.engines.EngineFile`."""
    options = setup.read(Options)
    tensors_in(contract)
    return open_session(contract, verified_model(contract), [(CPU, {})], threads=options.threads)
