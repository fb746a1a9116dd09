"""The wire codec, and what both buses do with bytes that are no MQTT."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from bus import Address, Delivery
from bus import packets as wire
from bus.hot import MAXIMUM_PACKET, HotBus, HotLink
from bus.routes import matches
from tests.bus.conftest import WAIT_S, MakeBus, eventually

OWN = b"\x20\x03\x00\x00\x00"  # CONNACK, accepted


def publish(topic: str, payload: bytes, qos: int = 0, pid: int = 1, properties: bytes = b"") -> bytes:
    return wire.publish_head(wire.topic_bytes(topic), len(payload), qos, False, False, pid, properties) + payload


# --- values and bytes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (268_435_455, "ffffff7f")],
)
def test_a_variable_byte_integer_is_written_as_the_standard_says(value: int, data: str) -> None:
    assert wire.varint(value).hex() == data
    assert wire.read_varint(bytes.fromhex(data), 0, len(data) // 2) == (value, len(data) // 2)


def test_a_variable_byte_integer_over_four_bytes_is_refused() -> None:
    assert wire.read_varint(b"\xff\xff\xff", 0, 3) == (-1, 0)
    with pytest.raises(wire.MalformedPacket):
        wire.read_varint(b"\xff\xff\xff\xff\x01", 0, 5)


@given(value=st.integers(0, 268_435_455))
def test_every_variable_byte_integer_comes_back(value: int) -> None:
    data = wire.varint(value)
    assert wire.read_varint(data, 0, len(data)) == (value, len(data))


def test_a_publish_is_written_as_the_standard_says() -> None:
    assert publish("a/b", b"xyz").hex(" ") == "30 09 00 03 61 2f 62 00 78 79 7a"
    assert publish("a/b", b"", qos=1, pid=0x1234).hex(" ") == "32 08 00 03 61 2f 62 12 34 00"
    head = wire.publish_head(wire.topic_bytes("t"), 200, 1, True, True, 1, wire.request_properties("r", b"c"))
    assert head.hex(" ") == "3b d6 01 00 01 74 00 01 08 08 00 01 72 09 00 01 63"


@given(
    topic=st.text(max_size=20),
    correlation=st.binary(max_size=20),
    ids=st.lists(st.integers(1, 268_435_455), max_size=3),
    user=st.lists(st.tuples(st.text("abc", max_size=5), st.text("abc", max_size=5)), max_size=2),
)
def test_properties_written_by_another_implementation_are_read(
    topic: str, correlation: bytes, ids: list[int], user: list[tuple[str, str]]
) -> None:
    theirs = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    theirs.ResponseTopic = topic
    theirs.CorrelationData = correlation
    theirs.ContentType = "x"
    theirs.MessageExpiryInterval = 7
    if user:
        theirs.UserProperty = user
    written = theirs.pack()
    body = written[1:] if len(written) < 129 else written[2:]
    body += b"".join(b"\x0b" + wire.varint(i) for i in ids)
    found = wire.properties(memoryview(wire.varint(len(body)) + body), 0)
    assert (found.response_topic, found.correlation, found.subscription_ids) == (topic, correlation, tuple(ids))


@given(st.binary(max_size=60))
def test_any_bytes_as_properties_raise_nothing_but_malformed(data: bytes) -> None:
    for read in (
        lambda view: wire.properties(view, 0),
        wire.connack,
        wire.suback,
        wire.acknowledgement,
        wire.disconnect,
    ):
        with contextlib.suppress(wire.MalformedPacket):
            read(memoryview(data))


def test_a_password_stands_in_connect_and_nowhere_else() -> None:
    packet = wire.connect("me", "user", "secret-8172", None, 10, 0, 1_000)
    assert b"\x00\x0bsecret-8172" in packet
    assert "secret" not in repr(Address(password="secret-8172"))


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matched"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("+", "/a", False),
        ("/+", "/a", True),
        ("$share/g/a/+", "a/b", True),
    ],
)
def test_filters_match_as_the_standard_says(topic_filter: str, topic: str, matched: bool) -> None:
    assert matches(topic_filter, topic) is matched


# --- a link, fed by hand ----------------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return socket.socket(socket.AF_UNIX) if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return


def feed(chunks: list[bytes]) -> tuple[list[tuple[str, bytes]], Wire, HotLink]:
    """Give `chunks` to a link as a socket would; return what its handler got."""

    async def run() -> tuple[list[tuple[str, bytes]], Wire, HotLink]:
        got: list[tuple[str, bytes]] = []
        owner = HotBus(Address(), "fed")

        def keep(delivery: Delivery) -> None:
            got.append((delivery.topic, bytes(delivery.payload)))

        await owner.subscribe("#", 1, keep)
        link, transport = HotLink(owner), Wire()
        link.connection_made(transport)
        link.sock.close()
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest and not transport.aborted:
                buffer = link.get_buffer(len(rest))
                size = min(len(buffer), len(rest))
                buffer[:size] = rest[:size]
                link.buffer_updated(size)
                rest = rest[size:]
        await asyncio.sleep(0)  # its flush
        assert len(link._buffer) <= 2 * MAXIMUM_PACKET + 262_144
        return got, transport, link

    return asyncio.run(run())


_messages = st.lists(
    st.tuples(st.sampled_from(["a", "a/b", "ä/ö"]), st.binary(max_size=300), st.integers(0, 1)), min_size=1, max_size=12
)


@settings(deadline=None)
@given(messages=_messages, cuts=st.lists(st.integers(1, 400), max_size=20))
def test_any_chunks_of_a_stream_give_the_same_messages(messages: list[tuple[str, bytes, int]], cuts: list[int]) -> None:
    stream = OWN + b"".join(publish(t, p, q, pid) for pid, (t, p, q) in enumerate(messages, 1))
    chunks = []
    for cut in cuts:
        chunks.append(stream[:cut])
        stream = stream[cut:]
    got, transport, _ = feed([*filter(None, chunks), stream])
    assert got == [(t, p) for t, p, _ in messages]
    assert bytes(transport.written) == b"".join(wire.puback(pid) for pid, (_, _, q) in enumerate(messages, 1) if q)


async def test_what_is_flushed_leaves_at_once_and_only_once() -> None:
    owner, transport = HotBus(Address(), "flushed"), Wire()
    link = HotLink(owner)
    link.connection_made(transport)
    link.sock.close()
    link._maximum_packet = MAXIMUM_PACKET
    assert link.publish_now("t", b"one", False, "", b"")
    assert not transport.written
    link.flush()
    assert bytes(transport.written) == publish("t", b"one", 0, 0)
    assert link.publish_now("t", b"two", False, "", b"")
    await asyncio.sleep(0)
    assert bytes(transport.written) == publish("t", b"one", 0, 0) + publish("t", b"two", 0, 0)


@pytest.mark.parametrize("size", [0, 124, 125, 126, 16_379, 16_380, 16_381, 70_000])
def test_a_publish_says_its_length_on_both_sides_of_each_bound(size: int) -> None:
    packet = publish("t", bytes(size), 0, 0)
    body, stop = wire.frame(packet, 0, len(packet), MAXIMUM_PACKET)
    assert (body, stop) == (1 + len(wire.varint(size + 4)), len(packet))


@pytest.mark.parametrize("size", [60_000, 262_144, 300_000, 1_500_000])
def test_a_buffer_grows_to_a_packet_and_keeps_what_follows(size: int) -> None:
    stream = OWN + publish("a", b"x" * size) + publish("b", b"tail") + publish("a", b"y" * size) + publish("b", b"end")
    chunks = [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]
    got, _, _ = feed(chunks)
    assert got == [("a", b"x" * size), ("b", b"tail"), ("a", b"y" * size), ("b", b"end")]


@settings(deadline=None, max_examples=300)
@given(messages=_messages, data=st.data())
def test_damaged_streams_end_the_connection_or_are_read_and_never_raise(
    messages: list[tuple[str, bytes, int]], data: st.DataObject
) -> None:
    stream = bytearray(OWN + b"".join(publish(t, p, q, pid) for pid, (t, p, q) in enumerate(messages, 1)))
    for at in data.draw(st.lists(st.integers(5, max(5, len(stream) - 1)), max_size=6)):
        if at < len(stream):
            stream[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(stream)))
    _, transport, link = feed([bytes(stream[:cut]), bytes(stream[cut:])])
    assert transport.aborted == link.closed.done()


@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=200))
def test_bytes_from_anywhere_never_raise(garbage: bytes) -> None:
    _, transport, link = feed([OWN, garbage])
    assert transport.aborted == link.closed.done()


BROKEN = {
    "reserved packet type 0": b"\x00\x00",
    "a packet that only clients send": b"\x10\x00",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "over the maximum packet": b"\x30\xff\xff\xff\x7f",
    "QoS 3": b"\x36\x07\x00\x01a\x00\x01\x00x",
    "topic longer than its packet": b"\x30\x04\x00\x20ab",
    "publish cut short": b"\x30\x01\x00",
    "publish without properties": b"\x30\x03\x00\x01a",
    "properties longer than the packet": b"\x30\x05\x00\x01a\x7fx",
    "an unknown property": b"\x30\x07\x00\x01a\x02\x7f\x00x",
    "topic not UTF-8": b"\x30\x05\x00\x01\xff\x00x",
    "SUBACK cut short": b"\x90\x01\x00",
    "PUBACK cut short": b"\x40\x01\x00",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_what_the_standard_forbids_ends_the_connection(broken: bytes) -> None:
    got, transport, link = feed([OWN, broken, publish("a", b"after")])
    assert transport.aborted and "broke the protocol" in link.closed.result()
    assert got == []


# --- a broker that breaks the protocol --------------------------------------------------------------------------------


class Rogue:
    """Accepts connections; after the first it sends `broken`, and is an idle broker to the later ones."""

    def __init__(self, broken: bytes) -> None:
        self.broken = broken
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        first = self.connections == 1
        with contextlib.suppress(OSError):
            while data := await reader.read(4_096):
                if data[0] == 0x10:
                    writer.write(OWN + (self.broken if first else b""))
                elif data == wire.PINGREQ and not first:
                    writer.write(b"\xd0\x00")
                elif data[0] == 0xE0:
                    break
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Rogue"]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0)


FAST = ("QoS 3", "topic longer than its packet", "SUBACK cut short")


@pytest.mark.parametrize(
    "broken",
    [pytest.param(data, id=name, marks=() if name in FAST else pytest.mark.slow) for name, data in BROKEN.items()],
)
async def test_a_bus_leaves_a_broker_that_breaks_the_protocol_and_connects_again(
    bus: MakeBus, kind: str, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Rogue(broken).running() as rogue,
        bus("both", address=Address(port=rogue.port), keepalive_s=1, connect_timeout_s=WAIT_S) as both,
    ):
        await eventually(lambda: rogue.connections == 2 and both.connected, "a second connection")
        assert both.stats.handler_errors == 0


@pytest.mark.slow
async def test_a_broker_with_few_abilities_is_obeyed(bus: MakeBus, kind: str) -> None:
    """Receive Maximum 1, packets up to 100 bytes, Server Keep Alive 1 s: 3.2.2.3."""
    told = struct.pack(">BHBIBH", 0x21, 1, 0x27, 100, 0x13, 1)
    connack = b"\x20" + bytes((3 + len(told),)) + b"\x00\x00" + bytes((len(told),)) + told
    seen = bytearray()
    pinged = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4_096):
            seen.extend(data)
            if data[0] == 0x10:
                writer.write(connack)
            if b"\xc0\x00" in data:
                writer.write(b"\xd0\x00")
                pinged.set()
            if data.endswith(b"\xe0\x00"):
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with bus("both", address=Address(port=port), keepalive_s=60) as both:
        assert not both.publish("a", bytes(100))
        for n in range(3):
            assert both.publish("a", b"one at a time %d" % n, qos=1)
        await asyncio.wait_for(pinged.wait(), WAIT_S)
        assert seen.count(b"one at a time") == 1
    server.close()
    assert both.stats.dropped == 1 + 3
