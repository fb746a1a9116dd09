"""Answers that are random, late or another request's: no crash, no hang, no wrong value. More: test_hostile.py."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge.connectors.s7 import S7Connector, open_connector
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.errors import ConnectorError, TagError
from schemas.messages import Quality, Sample
from tests.peers.s7_peer import s7_peer

pytestmark = pytest.mark.slow


def tag(address: str) -> Tag:
    return Tag(name=address, address=address, type="uint16")


def source(port: int, timeout_ms: int = 500) -> Source:
    return Source(driver="s7", port=port, tags="-", groups={}, timeout_ms=timeout_ms)


def opened(port: int) -> S7Connector:
    made = open_connector(source(port))
    made.connect()
    return made


def read(connector: S7Connector, *tags: Tag) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


def value(connector: S7Connector, one: Tag) -> object:
    sample = read(connector, one)[one.name]
    assert sample.quality is Quality.GOOD, sample.reason
    return sample.value


@contextlib.contextmanager
def proxy(port: int, spoil: Callable[[int, bytes], list[bytes] | None]) -> Iterator[int]:
    """A link to the server whose answers go through `spoil(number, frame)`: what is sent instead, None to cut it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client, socket.create_connection(("127.0.0.1", port), 5) as plc:
                    client.settimeout(5)
                    plc.settimeout(5)
                    for number in range(1000):
                        plc.sendall(_frame(client))
                        parts = spoil(number, _frame(plc))
                        if parts is None:
                            return
                        for part in parts:
                            client.sendall(part)
                            if len(parts) > 1:
                                time.sleep(0.05)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.close()
        thread.join(10)


def _frame(link: socket.socket) -> bytes:
    head = _exactly(link, 4)
    return head + _exactly(link, struct.unpack(">H", head[2:])[0] - 4)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise OSError("closed")
        data += part
    return data


@pytest.fixture(scope="module")
def peer() -> Iterator[int]:
    with s7_peer() as (port, _):
        yield port


WATCHED = (tag("DB1.DBW4"), tag("MW8"), tag("DB9.DBW0"))


def survives(peer: int, spoil: Callable[[int, bytes], list[bytes] | None]) -> dict[str, object] | None:
    """The values that come through, None for a ConnectorError; anything else, or more than the timeout, fails."""
    with proxy(peer, spoil) as port:
        made = open_connector(source(port, timeout_ms=120))
        began = time.monotonic()
        try:
            made.connect()
            return {name: sample.value for name, sample in read(made, *WATCHED).items()}
        except ConnectorError as error:
            assert not isinstance(error, TagError)
            return None
        finally:
            assert time.monotonic() - began < 1.5
            made.close()


def test_random_bytes_are_a_connector_error(peer: int) -> None:
    chosen = random.Random(11)
    for number in (0, 1, 2):
        for size in (1, 4, 7, 22, 300):
            noise = chosen.randbytes(size)
            framed = struct.pack(">BBH", 3, 0, size + 4) + noise
            for said in (noise, framed):
                assert survives(peer, lambda n, f, w=number, s=said: [s] if n == w else [f]) is None


def test_an_answer_that_trickles_in_is_given_up_in_time(peer: int) -> None:
    def trickle(number: int, frame: bytes) -> list[bytes]:
        return [frame[at : at + 1] for at in range(len(frame))] if number == 2 else [frame]

    assert survives(peer, trickle) is None


def test_a_cut_link_is_told_and_a_new_connector_reads_again(peer: int) -> None:
    assert survives(peer, lambda number, frame: None if number == 2 else [frame]) is None
    made = opened(peer)
    assert value(made, tag("DB1.DBW4")) == 0x0405
    made.close()


def test_the_answer_to_an_earlier_request_is_not_taken_for_this_one(peer: int) -> None:
    earlier: list[bytes] = []

    def swap(number: int, frame: bytes) -> list[bytes]:
        earlier.append(frame)
        return [earlier[2] if number == 3 else frame]

    with proxy(peer, swap) as port:
        made = opened(port)
        assert value(made, tag("DB1.DBW4")) == 0x0405
        with pytest.raises(ConnectorError, match="an answer to request"):
            read(made, tag("DB1.DBW6"))
        made.close()
