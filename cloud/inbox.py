"""The fleet's ears: reads every `up` row, refuses what is not of its closed schema, folds the rest.

Alerts, reports and ledgers are acknowledged to the broker only once what they changed is in the store; the broker keeps
them while the service is away (a persistent session). Health and models are retained and the latest wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bus import Bus, Delivery
from bus.typed import Reader
from cloud.fleet import Fleet
from cloud.fold import Arrival
from schemas.fleet import Upstream
from schemas.messages import Message
from schemas.topics import UP_ALERT, UP_HEALTH, UP_LEDGER, UP_MODELS, UP_REPORT, Topic

ROWS = (UP_HEALTH, UP_MODELS, UP_ALERT, UP_REPORT, UP_LEDGER)


class Inbox:
    """Feeds one fleet from one bus."""

    def __init__(self, fleet: Fleet) -> None:
        """Subscribe to nothing yet."""
        self._fleet = fleet
        self._unsaved: list[Callable[[], None]] = []

    async def attach(self, bus: Bus) -> None:
        """Subscribe to every row that devices send."""
        for row in ROWS:
            manual = not row.retain
            reader = Reader(row, row.message, self._taker(row))
            await bus.subscribe(row.filter(), row.qos, self._guarded(row, reader), manual_ack=manual)

    def take_acks(self) -> list[Callable[[], None]]:
        """Return the acknowledgements to call after the next commit."""
        acks, self._unsaved = self._unsaved, []
        return acks

    def put_back(self, acks: list[Callable[[], None]]) -> None:
        """Keep acknowledgements whose commit failed."""
        self._unsaved[:0] = acks

    def _taker(self, row: Topic) -> Callable[[Message, Delivery], None]:
        def take(message: Message, delivery: Delivery) -> None:
            assert isinstance(message, Upstream)  # noqa: S101 - ROWS carry nothing else
            self._fleet.arrive(_node(row, delivery), Arrival(message, time.time_ns(), delivery.retained))
            if not row.retain:
                self._unsaved.append(delivery.ack)

        return take

    def _guarded(self, row: Topic, reader: Reader[Message]) -> Callable[[Delivery], None]:
        """Count per device what its reader refuses: not the schema, too large, unknown or missing fields."""

        def take(delivery: Delivery) -> None:
            before = reader.stats.bad
            reader.take(delivery)
            if reader.stats.bad > before:
                self._fleet.refuse(_node(row, delivery))

        return take


def _node(row: Topic, delivery: Delivery) -> str:
    fields = row.parse(delivery.topic)
    return fields["node"] if fields else "unknown"
