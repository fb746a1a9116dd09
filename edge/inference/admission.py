"""Whether a pipeline keeps its deadline in its lane, by measured worst times. Pure.

A run in progress can't be preempted, so the slowest run of any other pipeline of the lane may stand before ours, and
one run of each pipeline that goes first. What remains of the deadline after that, and after the ways in and out, is
the slack; the largest warm batch that fits it is what may run. One that makes another pipeline of the lane miss its
deadline is refused too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRANSPORT_MS: Final = 2.0  # both hops with encoding: p99.9 of `./run bench e2e` in the real-time class, rounded up
ACTUATE_MS: Final = 5.0  # a verdict and a part id in a Modbus PLC and acknowledged: p99 of the demo, rounded up


@dataclass(frozen=True)
class Load:
    """What a pipeline asks of its lane: worst times by batch size, the largest batch that it may run."""

    name: str
    deadline_ms: float
    priority: int
    actuates: bool
    worst_ms: Mapping[int, float]
    largest: int

    @property
    def allowed_ms(self) -> float:
        """Of the deadline, what waiting and running may take."""
        return self.deadline_ms - TRANSPORT_MS - (ACTUATE_MS if self.actuates else 0.0)

    @property
    def single_ms(self) -> float:
        """The worst time of one input."""
        return self.worst_ms[min(self.worst_ms)]

    @property
    def longest_ms(self) -> float:
        """The worst time of the largest batch that may run."""
        return max((ms for size, ms in self.worst_ms.items() if size <= self.largest), default=self.single_ms)


def largest_batch(new: Load, others: Sequence[Load]) -> int:
    """Return the largest warm batch of `new` with which every pipeline of the lane keeps its deadline.

    Raises:
        ContractError: not even one input fits; with the figures.
    """
    blocking_ms = max((other.longest_ms for other in others), default=0.0)
    before_ms = sum(other.single_ms for other in others if other.priority < new.priority)
    slack_ms = new.allowed_ms - blocking_ms - before_ms
    if new.single_ms > slack_ms:
        raise ContractError([_refusal(new, slack_ms, blocking_ms, before_ms)])
    patience = {other.name: other.allowed_ms - other.single_ms for other in others}
    victim = min(patience, key=lambda name: patience[name], default="")
    most_ms = patience.get(victim, float("inf"))
    if new.single_ms > most_ms:
        raise ContractError(
            [
                f"pipeline {new.name}: not admitted: a run takes {new.single_ms:.2f} ms at worst, uninterrupted;"
                f" {victim} in the same lane can wait {max(most_ms, 0):.2f} ms. Move one of them to another lane"
            ]
        )
    fitting = [size for size, ms in new.worst_ms.items() if size <= new.largest and ms <= min(slack_ms, most_ms)]
    return max(fitting, default=min(new.worst_ms))


def _refusal(new: Load, slack_ms: float, blocking_ms: float, before_ms: float) -> str:
    ways = TRANSPORT_MS + (ACTUATE_MS if new.actuates else 0.0)
    return (
        f"pipeline {new.name}: not admitted: a run takes {new.single_ms:.2f} ms at worst, and its lane leaves"
        f" {max(slack_ms, 0):.2f} ms of the deadline of {new.deadline_ms:g} ms ({ways:g} for the ways in and out,"
        f" {blocking_ms:.2f} for a run in progress, {before_ms:.2f} for pipelines of higher priority)."
        " Allow more time, take a faster model or another lane"
    )
