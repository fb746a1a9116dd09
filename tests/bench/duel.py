"""Two servers of the same model, measured in turns: who does not play is stopped (SIGSTOP), so that it costs nothing.

Both sides get the same scheduling class; both sides' answers are compared with what the model says.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tests.bench.clients import Client
from tests.bench.line import FIFO
from tests.bench.machine import real_time
from tests.bench.peer_install import Absent
from tests.bench.windows import Rounds, Window, interleave

TOLERANCE = 1e-3
LOADS = (1, 16)  # in flight


@dataclass(frozen=True)
class Side:
    """A server, by its processes, and the client that asks it."""

    name: str
    family: Callable[[], list[int]]
    client: Client

    def classed(self, real: bool) -> None:
        """Give all its processes the real-time class, or take it from them."""
        for pid in self.family():
            real_time(pid, FIFO["runtime"] if real else 0)
        real_time(self.client.pid, FIFO["line"] if real else 0)


class Truth:
    """What the model says of each picture."""

    def __init__(self, model: Path, images: Path) -> None:
        """Run it once for each."""
        session = onnxruntime.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
        self._said = session.run(None, {"image": np.load(images)})[0]

    def check(self, name: str, sample: list[tuple[int, list[float]]]) -> None:
        """Compare answers.

        Raises:
            Absent: one differs, or there are none.
        """
        if not sample:
            raise Absent(f"{name} gave no answer")
        for image, probabilities in sample:
            if not np.allclose(probabilities, self._said[image], atol=TOLERANCE):
                wanted = self._said[image].tolist()
                raise Absent(f"{name} says {probabilities} of picture {image}, the model {wanted}")


@contextlib.contextmanager
def _stopped(side: Side) -> Iterator[None]:
    family = side.family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Duel:
    """Two sides and the truth."""

    def __init__(self, ours: Side, peer: Side, truth: Truth) -> None:
        """Nothing is measured yet."""
        self._sides = {"ours": (ours, peer), "peer": (peer, ours)}
        self._truth = truth

    def window(self, who: str, in_flight: int, seconds: float) -> Window:
        """Take one window of one side, and check what it said."""
        side, other = self._sides[who]
        with _stopped(other):
            window, sample = side.client.window(in_flight, seconds)
        self._truth.check(side.name, sample)
        return window

    def warm(self, seconds: float) -> None:
        """Let both find their pace."""
        for who in self._sides:
            for in_flight in LOADS:
                self.window(who, in_flight, seconds)

    def fight(self, rounds: int, seconds: float, real: bool, advance: Callable[[], object]) -> Rounds:
        """Interleave `ours 1`, `peer 1`, `ours 16` and `peer 16`."""
        for side, _ in self._sides.values():
            side.classed(real)
        contestants: dict[str, Callable[[], Window]] = {}
        for in_flight in LOADS:
            for who in self._sides:
                contestants[f"{who} {in_flight}"] = self._taker(who, in_flight, seconds)
        return interleave(contestants, rounds, advance)

    def _taker(self, who: str, in_flight: int, seconds: float) -> Callable[[], Window]:
        return lambda: self.window(who, in_flight, seconds)

    def curve(self, who: str, loads: tuple[int, ...], seconds: float) -> list[tuple[int, float]]:
        """Return answers a second by requests in flight."""
        return [(in_flight, self.window(who, in_flight, seconds).per_second) for in_flight in loads]


def figures(rounds: Rounds, who: str) -> Mapping[str, Any]:
    """Return one side's figures as the JSON line has them: medians over the rounds."""
    found: dict[str, Any] = {}
    for in_flight in LOADS:
        name = f"{who} {in_flight}"
        found[f"c{in_flight}_rps"] = rounds.median(name, lambda window: window.per_second)
        for percent in (50, 99, 99.9):
            label = f"c{in_flight}_p{percent:g}_ms".replace(".", "")
            found[label] = rounds.median(name, lambda window, at=percent: float(np.percentile(window.us, at)) / 1e3)
        found[f"c{in_flight}_dropped"] = int(rounds.total(name, lambda window: window.dropped + window.lost))
    return found
