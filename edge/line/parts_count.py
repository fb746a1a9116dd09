"""What the simulated plant itself counted of its parts, from ready on."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from edge.line.demo import control_socket
from edge.line.ground import Ground
from edge.sim.control import ask
from schemas.errors import StartError

ASK_S = 1.0


@dataclass(frozen=True)
class Parts:
    """What became of parts: by the device's verdicts, by its fail-safe, or by the PLC alone (rejected undecided)."""

    parts: int = 0
    correct_rejects: int = 0
    missed_rejects: int = 0
    false_rejects: int = 0
    failsafe: int = 0
    undecided: int = 0

    def __sub__(self, before: Parts) -> Parts:
        """Return what came since `before`."""
        return Parts(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))

    def __str__(self) -> str:
        """Return it in one line."""
        return (
            f"{self.parts} parts: {self.correct_rejects} rejected rightly, {self.missed_rejects} missed,"
            f" {self.false_rejects} wrongly, {self.failsafe} by fail-safe, {self.undecided} by the PLC"
        )


class PartsCount:
    """Asks the plant of a demo; a device of one's own has none that could be asked."""

    def __init__(self, ground: Ground) -> None:
        """Ask nothing yet."""
        self._ground = ground
        self._latest = Parts()
        self.before = Parts()

    def begin_anew(self) -> None:
        """Count from now on: while the device was starting, the PLC rejected by itself."""
        self.before = self._asked()

    def now(self) -> Parts | None:
        """Return what came since counting began, None without a plant."""
        return self._asked() - self.before if self._ground.demo else None

    def _asked(self) -> Parts:
        """Return the plant's counters; what it said last while it does not answer."""
        if self._ground.demo:
            try:
                state = ask(control_socket(self._ground.work), {"do": "state"}, timeout_s=ASK_S)
            except StartError:
                return self._latest
            counters = {name: state.get(name) for name in Parts.__dataclass_fields__}
            self._latest = Parts(**{name: value for name, value in counters.items() if isinstance(value, int)})
        return self._latest
