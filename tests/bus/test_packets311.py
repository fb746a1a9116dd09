"""MQTT 3.1.1 as bytes: what the standard prints, and what it forbids."""

import asyncio
from typing import Any

import pytest

from bus import Address, Delivery, Will
from bus import packets311 as wire
from bus.hot import HotBus
from bus.hot311 import HotLink311
from bus.packets import PERMANENT, MalformedPacket
from bus.routes import overlap

OWN = b"\x20\x02\x01\x00"


def test_packets_are_those_of_the_standard() -> None:
    assert wire.connect("c", "", "", None, 10, 0) == b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01c"
    full = wire.connect("c", "u", "p", Will("w", b"gone"), 10, 60)
    assert full == b"\x10\x1c\x00\x04MQTT\x04\xec\x00\x0a\x00\x01c\x00\x01w\x00\x04gone\x00\x01u\x00\x01p"
    assert wire.subscribe(7, "a/+", 1, 99) == b"\x82\x08\x00\x07\x00\x03a/+\x01"
    assert wire.publish_head(b"\x00\x01a", 3, 0, True, False, 0) == b"\x31\x06\x00\x01a"
    assert wire.publish_head(b"\x00\x01a", 3, 1, False, True, 5) == b"\x3a\x08\x00\x01a\x00\x05"


@pytest.mark.parametrize(("code", "permanent"), [(1, True), (2, True), (3, False), (4, True), (5, True), (99, False)])
def test_a_refusal_says_whether_to_try_again(code: int, permanent: bool) -> None:
    assert (wire.connack(memoryview(bytes([0, code]))).code in PERMANENT) is permanent


def test_answers_of_another_length_are_malformed() -> None:
    for body in (b"", b"\x00", b"\x00\x00\x00"):
        with pytest.raises(MalformedPacket):
            wire.connack(memoryview(body))
    for body in (b"\x00\x01", b"\x00\x01\x00\x00"):
        with pytest.raises(MalformedPacket):
            wire.suback(memoryview(body))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [("a/#", "a", True), ("a/#", "a/b/c", True), ("+/b", "a/+", True), ("a", "b", False), ("a/+", "a", False),
     ("a/+", "a/b/c", False), ("#", "a", True), ("a/b/#", "a/+", True), ("a/b/#", "a/c/#", False), ("+", "a/#", True)],
)  # fmt: skip
def test_filters_overlap_when_a_topic_matches_both(one: str, other: str, both: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is both


class Wire(asyncio.Transport):
    """Takes what a link writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.aborted = bytearray(), False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def abort(self) -> None:
        self.aborted = True


async def fed(*chunks: bytes) -> tuple[list[tuple[str, bytes, bool]], Wire, HotLink311]:
    """What the handler of `#` got of a stream, and what was answered."""
    got: list[tuple[str, bytes, bool]] = []
    owner = HotBus(Address(mqtt="3.1.1"), "fed")

    def keep(delivery: Delivery) -> None:
        got.append((delivery.topic, bytes(delivery.payload), delivery.retained))

    await owner.subscribe("#", 1, keep)
    link, transport = HotLink311(owner), Wire()
    link._transport = transport
    for chunk in chunks:
        link.get_buffer(len(chunk))[: len(chunk)] = chunk
        link.buffer_updated(len(chunk))
    await asyncio.sleep(0)  # its flush
    return got, transport, link


async def test_messages_are_read_and_acknowledged_however_they_are_cut() -> None:
    stream = OWN + b"\x31\x04\x00\x01ax" + b"\x32\x06\x00\x01b\x00\x05y" + b"\x30\x03\x00\x01c"
    for cut in range(1, len(stream)):
        got, transport, link = await fed(stream[:cut], stream[cut:])
        assert got == [("a", b"x", True), ("b", b"y", False), ("c", b"", False)]
        assert bytes(transport.written) == b"\x40\x02\x00\x05"
        assert link.connack.result().session_present


BROKEN = {
    "QoS 3": b"\x36\x06\x00\x01a\x00\x01x",
    "topic longer than its packet": b"\x30\x04\x00\x20ab",
    "publish cut short": b"\x30\x01\x00",
    "packet id cut short": b"\x32\x04\x00\x01a\x00",
    "topic not UTF-8": b"\x30\x04\x00\x01\xffx",
    "SUBACK cut short": b"\x90\x02\x00\x01",
    "a packet that only clients send": b"\x10\x00",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
async def test_what_the_standard_forbids_ends_the_connection(broken: bytes) -> None:
    got, transport, link = await fed(OWN + broken + b"\x30\x03\x00\x01c")
    assert transport.aborted and "broke the protocol" in link.closed.result()
    assert got == []
