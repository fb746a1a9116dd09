"""What a process says of itself: starting, active with the first message, idle after two seconds of silence."""

import pytest

from edge import flow
from edge.flow import Flow
from schemas.messages import State


async def test_the_first_message_makes_it_active_at_once_and_silence_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "LOOK_S", 0.01)
    monkeypatch.setattr(flow, "IDLE_AFTER_S", 0.2)
    seen = [0]
    watched = Flow(lambda: seen[0])
    assert (await watched.look())[0] is State.STARTING
    seen[0] = 1
    assert await watched.look() == (State.ACTIVE, "")
    assert (await watched.look())[0] is State.ACTIVE, "a pause is no silence"
    while (said := await watched.look())[0] is State.ACTIVE:
        pass
    assert said == (State.IDLE, "nothing arrives")
    seen[0] = 2
    assert (await watched.look())[0] is State.ACTIVE
