"""What runtimes say of their slots: one retained topic per model and runtime, and how several become one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from schemas.errors import Oversized
from schemas.messages import Slot
from schemas.topics import SLOT_STATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bus.typed import Publisher
    from edge.process import Process

AGAIN_S: Final = 0.2
_SHORT: Final = 200
_WORST: Final = ("rejected", "loading", "desired", "active")  # first


class StateVoice:
    """Publishes the state of a runtime's slots; one that the topic's rate held back comes later, if it is the last."""

    def __init__(self, process: Process) -> None:
        """Speak as `process`."""
        self._process = process
        self._publishers: dict[str, Publisher[Slot]] = {}
        self._again: dict[str, asyncio.TimerHandle] = {}

    def say(self, state: Slot) -> None:
        """Publish a state of this process."""
        if held := self._again.pop(state.model, None):
            held.cancel()
        publisher = self._publishers.get(state.model)
        if publisher is None:
            publisher = self._publishers[state.model] = self._process.publisher(
                SLOT_STATE, Slot, model=state.model, process=self._process.identity
            )
        if not _sent(publisher, state):
            self._again[state.model] = asyncio.get_running_loop().call_later(AGAIN_S, self.say, state)

    def close(self) -> None:
        """Say nothing more."""
        for held in self._again.values():
            held.cancel()


def _sent(publisher: Publisher[Slot], state: Slot) -> bool:
    """Publish a state; one that repeats too long a folder says less of it."""
    try:
        return publisher.send(state)
    except Oversized:
        return publisher.send(replace(state, folder="", reason=state.reason[:_SHORT]))


def worst(states: Iterable[Slot]) -> Slot:
    """Return the state that a device is in with a model: it is active when it is so in every runtime.

    Raises:
        ValueError: no states.
    """
    return min(states, key=lambda state: (_WORST.index(state.phase), state.process))
