import logging
import time
from dataclasses import replace
from typing import Any

import pytest

from bus import Delivery
from bus.codec import encode
from bus.typed import Publisher, RateLimit, Reader
from schemas import fleet as f
from schemas import messages as m
from schemas.errors import Oversized
from schemas.topics import DECISION, EVENT, READING, STATUS, UP_LEDGER, Place
from tests.bus.conftest import Broker, Inbox, MakeBus, eventually
from tests.bus.examples import EXAMPLES

PLACE = Place("ulm", "l1", "n1")
NAME = READING.name(PLACE, source="press1")
READ = next(e for e in EXAMPLES if isinstance(e, m.Reading))
EVENT_EXAMPLE = next(e for e in EXAMPLES if isinstance(e, m.Event))


class Collected:
    """A reader of READING that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[m.Reading] = []
        self.acknowledged = 0
        self.reader = Reader(READING, m.Reading, lambda message, delivery: self.messages.append(message))

    def take(self, seq: int, epoch: int = 1, name: str = NAME, **more: Any) -> None:
        self.take_bytes(encode(READING, m.Reading(**_fields(READ), epoch=epoch, seq=seq)), name, **more)

    def take_bytes(self, payload: bytes, name: str = NAME, **more: Any) -> None:
        self.reader.take(Delivery(name, payload, time.monotonic_ns(), ack=self._ack, **more))

    def _ack(self) -> None:
        self.acknowledged += 1

    @property
    def counts(self) -> tuple[int, int, int, int]:
        stats = self.reader.stats
        return stats.messages, stats.gaps, stats.repeats, stats.bad


def _fields(message: m.Reading) -> dict[str, Any]:
    return {key: getattr(message, key) for key in message.__struct_fields__ if key not in ("epoch", "seq")}


@pytest.fixture
def collected() -> Collected:
    return Collected()


def test_joining_in_the_middle_is_no_gap(collected: Collected) -> None:
    for seq in (5, 6, 7):
        collected.take(seq)
    assert collected.counts == (3, 0, 0, 0)


def test_gaps_are_counted_by_how_many_are_missing(collected: Collected) -> None:
    for seq in (1, 2, 5, 6, 10):
        collected.take(seq)
    assert collected.counts == (5, 2 + 3, 0, 0)


def test_a_repeat_is_passed_on_and_counted_and_is_no_gap(collected: Collected) -> None:
    for seq in (1, 2, 3, 2, 3, 4):
        collected.take(seq)
    assert collected.counts == (6, 0, 2, 0)
    assert [message.seq for message in collected.messages] == [1, 2, 3, 2, 3, 4]


def test_a_restarted_publisher_is_no_gap(collected: Collected) -> None:
    for epoch, seq in ((1, 1), (1, 2), (2, 1), (2, 2)):
        collected.take(seq, epoch)
    assert collected.counts == (4, 0, 0, 0)


def test_the_first_messages_of_a_restarted_publisher_can_be_lost_too(collected: Collected) -> None:
    for epoch, seq in ((1, 1), (1, 2), (2, 4), (2, 5)):
        collected.take(seq, epoch)
    assert collected.counts == (4, 3, 0, 0)


def test_each_topic_name_counts_for_itself(collected: Collected) -> None:
    other = READING.name(PLACE, source="press2")
    for seq in (1, 2, 3):
        collected.take(seq)
        collected.take(seq, name=other)
    assert collected.counts == (6, 0, 0, 0)


def test_what_was_retained_tells_nothing_of_gaps(collected: Collected) -> None:
    collected.take(90, retained=True)
    collected.take(1)
    assert collected.counts == (2, 0, 0, 0)


def test_bad_payloads_are_counted_acknowledged_and_logged_once_per_kind(
    collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    good = encode(READING, READ)
    for payload in (b"\xc1", b"junk", good[:-3], good.replace(b"reading/1", b"reading/9")):
        collected.take_bytes(payload)
        collected.take_bytes(payload)
    collected.take_bytes(bytes(READING.max_bytes + 1))
    collected.take(1)
    assert collected.counts == (1, 0, 0, 9)
    assert collected.acknowledged == 9
    assert len(caplog.records) == 3  # CodecError, SchemaMismatch, Oversized
    assert "junk" not in caplog.text


def test_a_cleared_topic_is_acknowledged_and_nothing_else(collected: Collected) -> None:
    collected.take_bytes(b"", retained=False)
    assert (collected.acknowledged, collected.counts) == (1, (0, 0, 0, 0))


def test_a_handler_gets_the_delivery_to_acknowledge() -> None:
    acknowledged: list[int] = []

    def handle(message: m.Reading, delivery: Delivery) -> None:
        delivery.ack()

    reader = Reader(READING, m.Reading, handle)
    reader.take(Delivery(NAME, encode(READING, READ), 0, ack=lambda: acknowledged.append(1)))
    assert acknowledged == [1]


def test_the_rate_limit_gives_a_second_in_a_burst_and_then_its_rate() -> None:
    now = [0]
    limit = RateLimit(100.0, clock=lambda: now[0])
    assert [limit.take() for _ in range(101)] == [True] * 100 + [False]
    now[0] += 100_000_000  # 0.1 s
    assert [limit.take() for _ in range(11)] == [True] * 10 + [False]
    now[0] += 3_600_000_000_000
    assert [limit.take() for _ in range(101)] == [True] * 100 + [False]


def test_a_slow_row_has_a_burst_of_five() -> None:
    limit = RateLimit(0.001, clock=lambda: 0)
    assert [limit.take() for _ in range(6)] == [True] * 5 + [False]


@pytest.fixture
def wide_open(broker: Broker) -> None:
    """The table's topics for everyone: the ACL has its own tests."""
    broker.kill()
    broker.allow = "topic readwrite #"
    broker.start()


async def test_a_publisher_stamps_and_a_reader_counts_nothing_missing(wide_open: None, bus: MakeBus) -> None:
    inbox: list[m.Event] = []
    reader = Reader(EVENT, m.Event, lambda message, delivery: inbox.append(message))
    async with bus("writer") as writer, bus("reader") as other:
        await reader.attach(other, PLACE)
        publisher = Publisher(writer, EVENT, m.Event, PLACE, origin="connect", kind="link")
        before = time.time_ns()
        for _ in range(3):
            assert publisher.send(replace_event())
        await publisher.deliver(replace_event())
        await eventually(lambda: len(inbox) == 4, "all four")
    assert [message.seq for message in inbox] == [1, 2, 3, 4]
    assert {message.epoch for message in inbox} == {publisher.epoch}
    assert abs(publisher.epoch - before) < 60_000_000_000
    assert (reader.stats.gaps, reader.stats.repeats, publisher.stats.messages) == (0, 0, 4)


def replace_event() -> m.Event:
    fields = {key: getattr(EVENT_EXAMPLE, key) for key in EVENT_EXAMPLE.__struct_fields__}
    return m.Event(**fields)


async def test_over_the_rows_rate_is_limited_and_counted(wide_open: None, bus: MakeBus) -> None:
    ledger = next(e for e in EXAMPLES if isinstance(e, f.Ledger))
    async with bus("writer") as writer:
        publisher = Publisher(writer, UP_LEDGER, f.Ledger, PLACE)
        assert [publisher.send(ledger) for _ in range(7)] == [True] * 5 + [False] * 2
        assert (publisher.stats.messages, publisher.stats.limited) == (5, 2)
        assert writer.stats.published == 5


async def test_over_the_rows_size_is_the_callers_fault(wide_open: None, bus: MakeBus) -> None:
    async with bus("writer") as writer:
        publisher = Publisher(writer, STATUS, m.Status, PLACE, process="connect")
        with pytest.raises(Oversized, match="STATUS"):
            publisher.send(m.Status(process="connect", state=m.State.IDLE, reason="x" * STATUS.max_bytes))
        assert writer.stats.published == 0


async def test_without_a_broker_qos_0_is_dropped_and_shows_as_a_gap(broker: Broker, bus: MakeBus) -> None:
    collected = Collected()
    broker.kill()
    broker.allow = "topic readwrite #"
    broker.start()
    async with bus("writer") as writer, bus("reader") as other:
        await collected.reader.attach(other, PLACE)
        publisher = Publisher(writer, READING, m.Reading, PLACE, source="press1")
        assert publisher.send(READ)
        await eventually(lambda: len(collected.messages) == 1, "the first")
        broker.kill()
        await eventually(lambda: not writer.connected and not other.connected, "the end seen")
        assert not publisher.send(READ)
        assert not publisher.send(READ)
        broker.start()
        await eventually(lambda: writer.connected and other.connected, "reconnected")
        assert publisher.send(READ)
        await eventually(lambda: len(collected.messages) == 2, "the last")
    assert (publisher.stats.messages, publisher.stats.dropped) == (2, 2)
    assert collected.counts == (2, 2, 0, 0)


async def test_a_publisher_of_the_wrong_message_is_refused(bus: MakeBus, broker: Broker) -> None:
    async with bus("writer", address=replace(broker.address)) as writer:
        with pytest.raises(TypeError, match="DECISION does not carry Reading"):
            Publisher(writer, DECISION, m.Reading, PLACE, pipeline="inspect")


async def test_a_bad_payload_on_the_wire_stops_nobody(wide_open: None, bus: MakeBus) -> None:
    collected = Collected()
    async with bus("both") as both:
        await collected.reader.attach(both, PLACE)
        both.publish(NAME, b"not a reading")
        Publisher(both, READING, m.Reading, PLACE, source="press1").send(READ)
        await eventually(lambda: len(collected.messages) == 1, "the good one")
        assert (collected.reader.stats.bad, both.stats.handler_errors) == (1, 0)


def test_the_suites_own_inbox_copies_payloads() -> None:
    inbox = Inbox()
    buffer = bytearray(b"first")
    inbox(Delivery("t/a", memoryview(buffer), 0))
    buffer[:] = b"other"
    assert inbox.queue.get_nowait().payload == b"first"
