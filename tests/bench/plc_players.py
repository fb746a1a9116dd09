"""Who plays beside the device in `bench plc`: a PLC that can be ill, one whose registers change, a SCADA client.

The PLCs speak Modbus TCP and answer reads of holding registers, the only requests that they get.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from tests.bench.machine import real_time
from tests.opcua_certificates import URI

WELL: Final = "well"
# As the network sees each: a pulled plug (what is sent is taken and never answered), answers within the timeout but
# after many periods, answers that are noise, and a server whose process is gone (its sockets closed by the kernel).
FAULTS: Final = ("cut", "slow", "garbled", "killed")
SLOW_S: Final = 0.2
CHANGES_EVERY_S: Final = 0.001
PUBLISHING_MS: Final = 100
_ASKED: Final = 12  # a read request's bytes


class Plc:
    """A Modbus server; `register` gives what all registers hold at this moment."""

    def __init__(self, register: Callable[[], int]) -> None:
        """Listen on a free port."""
        self.state = WELL
        self._register, self._links = register, set[socket.socket]()
        self._mended = threading.Event()
        self._server = self._listen(0)
        self.port: int = self._server.getsockname()[1]

    def turn(self, state: str) -> None:
        """Fall ill, or be well again."""
        self._mended.clear()
        before, self.state = self.state, state
        if state == "killed":
            for end in (self._server, *self._links):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        if state == WELL:
            if before == "killed":
                self._server = self._listen(self.port)
            self._mended.set()

    def _listen(self, port: int) -> socket.socket:
        server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return server

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = server.accept()
                self._links.add(link)
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with link, contextlib.suppress(OSError):
            while len(asked := link.recv(_ASKED)) == _ASKED:
                if self.state == "cut":
                    self._mended.wait()
                    break
                if self.state == "slow":
                    self._mended.wait(SLOW_S)
                link.sendall(self._answer(asked))
        self._links.discard(link)

    def _answer(self, asked: bytes) -> bytes:
        count = int.from_bytes(asked[10:12], "big")
        if self.state == "garbled":
            return os.urandom(9 + 2 * count)
        head = asked[:4] + struct.pack(">HBBB", 3 + 2 * count, asked[6], asked[7], 2 * count)
        return head + struct.pack(">H", self._register()) * count


def be_ill_plc(pipe: Connection, fifo: int) -> None:
    """A PLC that falls ill by what comes through the pipe: one of FAULTS, or WELL."""
    real_time(0, fifo)
    plc = Plc(lambda: 0)
    pipe.send(plc.port)
    with contextlib.suppress(EOFError):
        while True:
            plc.turn(pipe.recv())
            pipe.send(plc.state)


def be_changing_plc(pipe: Connection, fifo: int) -> None:
    """A PLC whose registers all change every millisecond."""
    real_time(0, fifo)
    plc = Plc(lambda: int(time.monotonic() / CHANGES_EVERY_S) & 0x7FFF)
    pipe.send(plc.port)
    pipe.poll(None)


def be_scada(pipe: Connection, endpoint: str, files: dict[str, str], nodes: list[str]) -> None:
    """An OPC UA client (asyncua's) that subscribes to nodes; for each number of seconds: how many changes came."""
    asyncio.run(_watch(pipe, endpoint, files, nodes))


class _Counted:
    """Counts what a subscription brings."""

    def __init__(self) -> None:
        self.changes = 0

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        """Count one; asyncua calls it by this name."""
        del node, value, data
        self.changes += 1

    def status_change_notification(self, status: Any) -> None:
        """The server has ended the subscription: nothing more is counted, which shows."""
        logging.getLogger(__name__).warning("the subscription has ended: %s", status)


async def _watch(pipe: Connection, endpoint: str, files: dict[str, str], nodes: list[str]) -> None:
    from asyncua.client.client import Client
    from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

    logging.getLogger("asyncua").setLevel(logging.ERROR)  # it warns of each of our certificate's names
    pipe.send("here")
    client = Client(endpoint, timeout=30, watchdog_intervall=30)  # it gives a busy server up after one second
    client.application_uri = URI
    await client.set_security(SecurityPolicyBasic256Sha256, files["certificate"], files["key"])
    counted = _Counted()
    async with client:
        index = await client.get_namespace_index("urn:plantedge:device")
        subscription = await client.create_subscription(PUBLISHING_MS, counted)
        known = [client.get_node(f"ns={index};s={path}") for path in nodes]
        for at in range(0, len(known), 500):
            await subscription.subscribe_data_change(known[at : at + 500], queuesize=2)
        pipe.send("subscribed")
        while True:
            seconds = await asyncio.to_thread(pipe.recv)
            before, began = counted.changes, time.monotonic()
            await asyncio.sleep(seconds)
            pipe.send((counted.changes - before) / (time.monotonic() - began))
