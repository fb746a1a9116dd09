"""The filler's gearbox in the simulated plant: turns with the line, and wears when it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.sim.controller import LineState
from edge.sim.vibration import AXES, SAMPLES, GearFault, vibration

SHAPE = (SAMPLES, len(AXES))
WEAR_S = 30.0  # a fault grows to its severity within this time


class Gearbox:
    """What its accelerometer reads depends on the line's speed and on how long a fault has grown."""

    def __init__(self, seed: int, line: LineState, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin sound."""
        self._seed = seed
        self._line = line
        self._clock = clock
        self._fault: GearFault | None = None
        self._severity = 0.0
        self._since_s = 0.0

    def disturb(self, fault: GearFault | None, severity: float = 1.0) -> None:
        """Begin a fault, or repair it with None."""
        self._fault, self._severity, self._since_s = fault, severity, self._clock()

    @property
    def condition(self) -> str:
        """What is wrong with it, the truth."""
        return self._fault or "healthy"

    @property
    def wear(self) -> float:
        """The fault's severity by now."""
        if self._fault is None:
            return 0.0
        return self._severity * min(1.0, (self._clock() - self._since_s) / WEAR_S)

    def snapshot(self, number: int) -> bytes:
        """Return what the accelerometer reads now: float32 of `SHAPE`."""
        return vibration(self._seed, number, self._line.speed_ppm, self._fault, self.wear).tobytes()
