"""What the uplink makes of the fleet's requests, without a broker."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bus import Delivery, Handler
from bus.client import ControlBus
from bus.codec import decode, encode
from edge.process import Process
from edge.settings import Device, Settings
from edge.uplink import MOST_REQUESTS, Uplink
from edge.upstream.outbox import Outbox
from schemas.fleet import FleetRequest, Report
from schemas.topics import DOWN_REQUEST, UP_REPORT, Place

PLACE = Place("s", "l", "n")


class Fleet:
    """A bus that hands over what is said to it."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    async def subscribe(self, topic_filter: str, _qos: int, handler: Handler, **_: object) -> None:
        self.handlers[topic_filter] = handler

    def ask(self, name: str, seq: int, expires_in_s: float = 60.0) -> None:
        until_ns = time.time_ns() + int(expires_in_s * 1e9)
        request = FleetRequest(id=name, verb="ping", expires_ns=until_ns, epoch=1, seq=seq)
        topic = DOWN_REQUEST.name(PLACE)
        self.handlers[topic](Delivery(topic, encode(DOWN_REQUEST, request), 0, False, "", b"", lambda: None))


@pytest.fixture
def outbox(tmp_path: Path) -> Any:
    made = Outbox(tmp_path / "outbox.db", 10_000_000)
    yield made
    made.close()


@pytest.fixture
async def fleet(outbox: Outbox) -> AsyncIterator[Fleet]:
    settings = Settings(device=Device(site="s", line="l", node="n"))
    process = SimpleNamespace(settings=settings, place=PLACE, counters=dict[str, float]())
    said = Fleet()
    await Uplink(cast(Process, process), outbox).listen(cast(ControlBus, said))
    yield said


def answers(outbox: Outbox) -> list[tuple[str, bool, str]]:
    """All reports that wait, taken out."""
    found: list[Report] = []
    while waiting := outbox.waiting():
        for one in waiting:
            found.append(decode(UP_REPORT, Report, one.payload))
            outbox.sent(one, "report")
    return [(one.id, one.ok, one.reason) for one in found]


async def test_a_request_is_answered_once_and_not_after_its_time(fleet: Fleet, outbox: Outbox) -> None:
    fleet.ask("one", 1)
    fleet.ask("one", 2)
    fleet.ask("late", 3, expires_in_s=-1.0)
    assert answers(outbox) == [("one", True, ""), ("late", False, "expired")]


async def test_requests_without_end_are_refused(fleet: Fleet, outbox: Outbox) -> None:
    for number in range(MOST_REQUESTS):
        fleet.ask(f"soon-{number}", number + 1, expires_in_s=60.0)
    fleet.ask("more", MOST_REQUESTS + 1)
    found = answers(outbox)
    assert len(found) == MOST_REQUESTS + 1 and found[-1] == ("more", False, "busy")
