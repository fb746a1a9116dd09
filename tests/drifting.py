"""A device that drifts, without a bus: pictures of a simulated camera through a shipped model, window by window.

Statistics of a picture don't depend on its window, so they are taken once per picture; a week of windows is drawn from
a pool of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.config.drift import Drift
from edge.engines import Session, load_engine
from edge.inference.drift.baselines import Baselines
from edge.inference.drift.inputs import InputGatherer, InputWindow
from edge.inference.drift.predictions import BINS, PredictionGatherer, PredictionWindow
from edge.inference.drift.subject import Subject, watched_input
from edge.inference.drift.track import Track
from edge.models.contract import Contract
from edge.sim.parts import LABELS, PartStream

MODELS = Path(__file__).parent.parent / "edge" / "sim" / "demo" / "models"


@cache
def model(name: str) -> tuple[Contract, Session]:
    """Return a shipped model."""
    contract = Contract.load(MODELS / name / "1")
    return contract, load_engine("cpu").load(contract)


def subject(name: str) -> Subject:
    """Return what a watch knows of a pipeline of that model alone."""
    contract, _ = model(name)
    said, output = contract.inputs[0], contract.outputs[0]
    shape = [axis for axis in said.shape[1:] if isinstance(axis, int)]
    kind = "anomaly" if contract.kind == "anomaly" else "classifier"
    inputs = (watched_input("input", said.dtype, shape, said),)
    return Subject(inputs, kind, output.labels, f"model.{output.name}", (contract.sha256,))


def run(name: str, inputs: NDArray[Any]) -> NDArray[Any]:
    """Return the model's first output for many inputs."""
    contract, session = model(name)
    parts = [session.run({contract.inputs[0].name: inputs[at : at + 200]}) for at in range(0, len(inputs), 200)]
    return np.concatenate([part[contract.outputs[0].name] for part in parts])


def pictures(seed: int, first: int, count: int, defect_rate: float = 0.02) -> NDArray[np.uint8]:
    """Draw parts `first` ... of a batch."""
    stream = PartStream(seed, defect_rate)
    return np.stack([stream.image(number) for number in range(first, first + count)])


def faulty(seed: int, first: int, count: int, defect_rate: float) -> NDArray[np.bool_]:
    """Return which of those parts have a defect."""
    stream = PartStream(seed, defect_rate)
    return np.array([stream.part(number).label != LABELS[0] for number in range(first, first + count)])


@dataclass(frozen=True)
class Pool:
    """The statistics of many inputs, one row each: of the input, its layout, and what the model said."""

    stats: NDArray[np.float64]
    layout: NDArray[np.float64]
    said: NDArray[np.float64]  # unsure, its square, score, its square
    classes: NDArray[np.float64]
    bins: NDArray[np.float64]
    alarmed: NDArray[np.bool_]

    @classmethod
    def of(cls, what: Subject, inputs: NDArray[Any], outputs: NDArray[Any], threshold: float = np.inf) -> Pool:
        """Take each input as a window of one."""
        one, said = InputGatherer(what.inputs), PredictionGatherer(what)
        seen: list[InputWindow] = []
        heard: list[PredictionWindow] = []
        for array, output in zip(inputs, outputs, strict=True):
            one.see({"input": array[None]})
            said.see(output[None])
            seen.append(one.window())
            heard.append(said.window())
            one.clear()
            said.clear()
        alarmed = outputs.reshape(len(outputs), -1)[:, 0] >= threshold
        return cls(
            np.array([w.means for w in seen]), np.array([w.layout for w in seen]),
            np.array([(w.unsure, w.unsure_squares, w.score_sum, w.score_squares) for w in heard]),
            np.array([w.classes for w in heard], dtype=float).reshape(len(heard), -1),
            np.array([w.bins for w in heard], dtype=float).reshape(len(heard), BINS), alarmed,
        )  # fmt: skip

    def window(self, rows: NDArray[np.intp], sampled: int) -> tuple[InputWindow, PredictionWindow]:
        """Return a window of these rows, of which the first `sampled` were looked at."""
        looked, heard = rows[:sampled], rows[~self.alarmed[rows]]
        stats = self.stats[looked]
        said = self.said[heard].sum(0)
        return (
            InputWindow(sampled, stats.mean(0).tolist(), stats.var(0).tolist(), self.layout[looked].mean(0).tolist()),
            PredictionWindow(
                len(heard), *said.tolist(), self.classes[heard].sum(0).astype(int).tolist(),
                self.bins[heard].sum(0).astype(int).tolist(),
            ),
        )  # fmt: skip


class Watched:
    """A watch that is given windows."""

    def __init__(self, what: Subject, settings: Drift, baselines: Baselines | None = None) -> None:
        """Start with what was learned before, if there is something."""
        self.settings = settings
        self.track = Track("p", what, settings, baselines or Baselines())
        self.now_s = 0.0
        self.steps: list[Any] = []

    def see(self, windows: tuple[InputWindow, PredictionWindow], seconds: float = 10.0, unclean: str = "") -> None:
        """Let a window go by."""
        self.now_s += seconds
        self.track.why_unclean = unclean
        steps, _ = self.track.judge(*windows, int(self.now_s * 1e9))
        self.steps += steps

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the last window."""
        return {signal.name: signal.score for signal in self.track.signals}


def drawn(rng: np.random.Generator, pool: Pool, rows: int, sampled: int) -> tuple[InputWindow, PredictionWindow]:
    """Return a window of rows drawn from a pool."""
    return pool.window(rng.integers(0, len(pool.stats), rows), sampled)
