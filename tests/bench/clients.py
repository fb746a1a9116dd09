"""The fastest clients that Python has, for servers on MQTT and on HTTP: blocking sockets, requests made beforehand.

`Client` starts one; see `tests.bench.closed_loop` for what it is told.
"""

import json
import selectors
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bus import Address
from bus.codec import encode
from edge.host.clock import boot_id
from schemas.messages import Frame
from schemas.topics import FRAME, RESULT, Place
from tests.bench.closed_loop import Answer, Transport, play
from tests.bench.raw_mqtt import RawMqtt, payload_of
from tests.bench.windows import Window

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = "from tests.bench.clients import main; main()"


class _Reply(msgspec.Struct):
    """What a client looks at of a Result; a peer's answers have these fields, too."""

    source_seq: int
    outcome: str
    scores: dict[str, float]


class OverMqtt:
    """A request is a published Frame, the answer a Result, or what a peer makes of it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Ask `stream` as `camera` and hear `pipeline` as `reader`, both addresses; `images` is a .npy file."""
        place = Place(*spec["place"])
        self._link = RawMqtt(Address(**spec["camera"]), f"bench-ask-{spec['stream']}")
        self._results = RawMqtt(Address(**spec["reader"]), f"bench-hear-{spec['pipeline']}")
        self._results.subscribe(RESULT.filter(place, pipeline=spec["pipeline"]))
        self._name, self._stream = FRAME.name(place, stream=spec["stream"]), spec["stream"]
        images = np.load(spec["images"])
        self._images = [image.tobytes() for image in images]
        self._shape = tuple(images.shape[1:])
        self._boot, self._epoch = boot_id(), time.time_ns()
        self._decode = msgspec.msgpack.Decoder(_Reply).decode

    def open(self, in_flight: int) -> None:
        """One pair of connections serves them all."""
        self._link.ping()
        self._results.ping()

    def send(self, seq: int) -> None:
        """Publish a frame."""
        payload = encode(
            FRAME,
            Frame(stream=self._stream, part_id=seq, boot=self._boot, trigger_ns=time.monotonic_ns(), time_ns=0,
                  shape=self._shape, dtype="uint8", data=memoryview(self._images[seq % len(self._images)]),
                  epoch=self._epoch, seq=seq),
        )  # fmt: skip
        self._link.link.sendall(self._link.publisher(self._name, len(payload)) + payload)

    def receive(self, timeout_s: float) -> list[Answer]:
        """Read what the broker has."""
        return [self._answer(now_ns, body) for now_ns, body in self._results.read(time.monotonic() + timeout_s)]

    def _answer(self, now_ns: int, body: bytes) -> Answer:
        reply = self._decode(payload_of(body))
        return reply.source_seq, now_ns, None if reply.outcome == "dropped" else reply.scores

    def content(self, seq: int, reply: Any) -> tuple[int, list[float]]:
        """See `Transport`."""
        return seq % len(self._images), [reply["ok"], reply["bad"]]


class OverHttp:
    """HTTP/1.1, a kept-alive connection for each request in flight; the answer is two little-endian floats."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Prepare a POST to `port` and `path` for each image, with the lines of `headers`."""
        head = f"POST {spec['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\n{spec['headers']}"
        self._requests = [
            f"{head}Content-Length: {image.nbytes}\r\n\r\n".encode() + image.tobytes()
            for image in np.load(spec["images"])
        ]
        self._address = ("127.0.0.1", spec["port"])
        self._free: list[socket.socket] = []
        self._asked: dict[socket.socket, int] = {}
        self._parts: dict[socket.socket, bytearray] = {}
        self._selector = selectors.EpollSelector()

    def open(self, in_flight: int) -> None:
        """Connect as often as needed; who answered too late before has lost its connection."""
        for late in list(self._asked):
            self._close(late)
        while len(self._parts) < in_flight:
            link = socket.create_connection(self._address)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(link, selectors.EVENT_READ)
            self._parts[link] = bytearray()
            self._free.append(link)

    def _close(self, link: socket.socket) -> None:
        self._selector.unregister(link)
        link.close()
        del self._parts[link], self._asked[link]

    def close(self) -> None:
        """Close every connection."""
        for link in list(self._parts):
            self._asked.setdefault(link, 0)
            self._close(link)
        self._free.clear()
        self._selector.close()

    def send(self, seq: int) -> None:
        """Post it on a free connection."""
        if not self._free:  # the server closed some
            self.open(len(self._parts) + 1)
        link = self._free.pop()
        self._asked[link] = seq
        link.sendall(self._requests[seq % len(self._requests)])

    def receive(self, timeout_s: float) -> list[Answer]:
        """Read what is there, until at least one answer is whole."""
        found: list[Answer] = []
        while not found:
            ready = self._selector.select(timeout_s)
            if not ready:
                break
            for key, _ in ready:
                link: Any = key.fileobj
                found += self._read(link, link.recv(1 << 16))
        return found

    def _read(self, link: socket.socket, data: bytes) -> list[Answer]:
        now_ns = time.monotonic_ns()
        if not data:
            seq = self._asked.get(link, 0)
            self._asked.setdefault(link, 0)
            if link in self._free:
                self._free.remove(link)
            self._close(link)
            return [(seq, now_ns, None)]
        self._parts[link] += data
        whole = _http_body(self._parts[link])
        if whole is None:
            return []
        self._parts[link].clear()
        self._free.append(link)
        return [(self._asked.pop(link), now_ns, whole or None)]

    def content(self, seq: int, reply: Any) -> tuple[int, list[float]]:
        """See `Transport`."""
        return seq % len(self._requests), list(struct.unpack("<2f", reply))


def _http_body(data: bytearray) -> bytes | None:
    """Return the body of a whole response, empty if its status is not 200, None while some of it is missing."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    at = data.lower().find(b"\r\ncontent-length:", 0, head_end)
    if at < 0:
        raise ValueError(f"no Content-Length in {bytes(data[:300])!r}")
    size = int(data[at + 17 : data.index(b"\r\n", at + 2)])
    if len(data) < head_end + 4 + size:
        return None
    return bytes(data[head_end + 4 :]) if data[9:12] == b"200" else b""


class Client:
    """A client in its own process."""

    def __init__(self, spec: dict[str, Any], command: tuple[str, ...] = ()) -> None:
        """Start it; `command` is the program, of this module unless told otherwise."""
        self._child = subprocess.Popen(
            command or (sys.executable, "-c", OURS), cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self.pid = self._child.pid
        try:
            self._say(spec)
        except BaseException:
            self.close()
            raise

    def _say(self, what: dict[str, Any]) -> Any:
        assert self._child.stdin and self._child.stdout
        try:
            self._child.stdin.write(json.dumps(what) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the client ended with status {self._child.wait(5)}")
        return json.loads(line)

    def window(self, in_flight: int, seconds: float) -> tuple[Window, list[tuple[int, list[float]]]]:
        """Take one window; return it and a sample of (image, probabilities)."""
        told = self._say({"in_flight": in_flight, "seconds": seconds})
        window = Window(np.array(told["us"]), told["seconds"], told["sent"], told["dropped"], told["lost"])
        return window, told["sample"]

    def close(self) -> None:
        """End it."""
        self._child.kill()
        with self._child:  # its pipes, too
            self._child.wait(5)


def _transport(spec: dict[str, Any]) -> Transport:
    kind = spec.pop("kind")
    return OverMqtt(spec) if kind == "mqtt" else OverHttp(spec)


def main() -> None:
    """Be a client."""
    play(_transport)
