"""Who stands outside of the device in `bench lanes`: its PLC, a crowd of MES clients, and one that reads nothing."""

import selectors
import socket
import struct
import threading
import time
from multiprocessing.connection import Connection

from bus import Address
from schemas.topics import MES_RESULT, RESULT, Place
from tests.bench.machine import real_time
from tests.bench.raw_mqtt import RawMqtt

COIL, PART = 0, 0  # where the verdict and the part's id are written
_HEAD = struct.Struct(">HHHB")
_ECHO = 5  # function, address and count or value: the answer to a write


def be_plc(pipe: Connection, fifo: int) -> None:
    """A Modbus TCP server of one connection; the write of a part's id latches the verdict for it.

    It tells its port, and for each message through `pipe` what it has latched since: (CLOCK_MONOTONIC in ns, part id,
    whether it rejects).
    """
    real_time(0, fifo)  # what is started from here has it, too
    latched: list[tuple[int, int, bool]] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, latched), daemon=True).start()
        pipe.send(server.getsockname()[1])
        while True:
            pipe.recv()
            told, latched[:] = list(latched), []
            pipe.send(told)


def _serve(server: socket.socket, latched: list[tuple[int, int, bool]]) -> None:
    while True:
        link, _ = server.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reject, buffer = True, b""
        while data := link.recv(4096):
            buffer += data
            while len(buffer) >= _HEAD.size and len(buffer) >= (size := 6 + int.from_bytes(buffer[4:6], "big")):
                request, buffer = buffer[:size], buffer[size:]
                reject = _answer(link, request, reject, latched)


def _answer(link: socket.socket, request: bytes, reject: bool, latched: list[tuple[int, int, bool]]) -> bool:
    """Answer one request; return the verdict's coil."""
    transaction, _, _, unit = _HEAD.unpack_from(request)
    body = request[_HEAD.size :]
    function, address, count = struct.unpack_from(">BHH", body)
    if function in (1, 2, 3, 4):
        held = bytes((count + 7) // 8 if function < 3 else 2 * count)
        answer = bytes((function, len(held))) + held
    else:
        answer = body[:_ECHO]
    if function == 5 and address == COIL:
        reject = count != 0
    if function == 16 and address == PART:
        latched.append((time.monotonic_ns(), int.from_bytes(body[6:10], "big"), reject))
    link.sendall(_HEAD.pack(transaction, 0, len(answer) + 1, unit) + answer)
    return reject


def be_crowd(pipe: Connection, address: Address, place: Place, count: int) -> None:
    """MES clients that all read every mirrored result: told True they come, told False they go and say what came."""
    pipe.send("ready")
    while pipe.recv():
        links = [RawMqtt(address, f"bench-mes-{number}") for number in range(count)]
        selector = selectors.EpollSelector()
        for link in links:
            link.subscribe(MES_RESULT.filter(place))
            selector.register(link.link, selectors.EVENT_READ)
        pipe.send("here")
        received = 0
        while not pipe.poll():
            for key, _ in selector.select(0.1):
                there: socket.socket = key.fileobj  # type: ignore[assignment]  # it is what was registered
                received += len(there.recv(1 << 18))
        pipe.recv()
        for link in links:
            link.link.close()
        selector.close()
        pipe.send(received)


class Sleeper:
    """A reader of all results that reads none of them."""

    def __init__(self, address: Address, place: Place) -> None:
        """Subscribe, with the smallest buffer that the kernel gives."""
        self._link = RawMqtt(address, "bench-sleeper")
        self._link.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._link.subscribe(RESULT.filter(place))

    def close(self) -> None:
        """Go."""
        self._link.link.close()
