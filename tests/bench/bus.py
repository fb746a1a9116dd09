"""What one broker hop costs: publish to handler through a local mosquitto, beside a raw TCP echo of the same size.

Run `python -m tests.bench.bus`: under 20 s, mosquitto needed. Candidates take turns round by round, so that a busy
moment of the machine hits all of them; read p50 and the ratio to the floor, not the tails of a shared machine.
`--gate` fails when HotBus is over 4 times the floor at 200 B.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from bus import Delivery
from bus.client import ControlBus
from bus.hot import HotBus
from bus.session import Session
from tests.bus.conftest import Broker
from tests.conftest import bind_free_port, find_program

SIZES = (200, 150_000)
ROUNDS = 6
LATENCY_S, FLOOD_S = 0.15, 0.2
AHEAD = 500  # messages of a flood that may be on their way
GATE_RATIO = 4.0


@dataclass
class Candidate:
    """Something that carries `payload` away and back."""

    name: str
    trip: Callable[[bytes], Awaitable[None]]
    flood: Callable[[bytes], Awaitable[int]] | None = None
    latencies_us: dict[int, list[float]] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)


# --- the floor --------------------------------------------------------------------------------------------------------


def _echo_server(told: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        told.send(server.getsockname()[1])
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray(262_144)
        while size := connection.recv_into(buffer):
            connection.sendall(memoryview(buffer)[:size])


class _Echo(asyncio.Protocol):
    """The client's side of the echo, on the same loop as the candidates."""

    def __init__(self) -> None:
        self._left = 0
        self._back: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left == 0 and self._back:
            self._back.set_result(None)

    async def trip(self, payload: bytes) -> None:
        self._left = len(payload)
        self._back = asyncio.get_running_loop().create_future()
        self._transport.write(payload)  # type: ignore[attr-defined]  # uvloop's transport
        await self._back


# --- the buses --------------------------------------------------------------------------------------------------------


class _Hop:
    """One bus that publishes to itself, with QoS 0 unless told otherwise."""

    def __init__(self, bus: Session, qos: int) -> None:
        self._bus, self._qos, self._topic = bus, qos, f"t/bench/{bus.client_id}"
        self._back: asyncio.Future[None] | None = None
        self._received = self._rest = 0
        self._all_back = asyncio.Event()

    async def start(self) -> None:
        await self._bus.subscribe(self._topic, self._qos, self._take)

    def _take(self, delivery: Delivery) -> None:
        self._received += 1
        self._rest -= 1
        if self._rest == 0:
            self._all_back.set()
        if self._back and not self._back.done():
            self._back.set_result(None)

    async def trip(self, payload: bytes) -> None:
        self._back = asyncio.get_running_loop().create_future()
        self._bus.publish(self._topic, payload, qos=self._qos)
        await self._back

    async def flood(self, payload: bytes) -> int:
        """Publish for FLOOD_S with AHEAD on their way; return how many arrived."""
        begin, sent, until = self._received, 0, time.perf_counter() + FLOOD_S
        while time.perf_counter() < until:
            while sent - (self._received - begin) < AHEAD and self._bus.publish(self._topic, payload, qos=self._qos):
                sent += 1
            await asyncio.sleep(0)
        arrived = self._received - begin
        self._rest, self._all_back = begin + sent - self._received, asyncio.Event()
        if self._rest:
            async with asyncio.timeout(5):
                await self._all_back.wait()
        return arrived


async def _candidates(stack: AsyncExitStack, broker: Broker, echo_port: int) -> list[Candidate]:
    _, echo = await asyncio.get_running_loop().create_connection(_Echo, "127.0.0.1", echo_port)
    stack.callback(echo._transport.close)
    made = [Candidate("raw TCP echo (floor)", echo.trip)]
    unix = replace(broker.address, socket=broker.socket_path)
    for name, bus, qos in (
        ("HotBus", HotBus(broker.address, "hot"), 0),
        ("HotBus, QoS 1", HotBus(broker.address, "hot1"), 1),
        ("HotBus, unix socket", HotBus(unix, "unix"), 0),
        ("ControlBus", ControlBus(broker.address, "control"), 0),
    ):
        hop = _Hop(await stack.enter_async_context(bus), qos)
        await hop.start()
        made.append(Candidate(name, hop.trip, hop.flood))
    return made


# --- measuring --------------------------------------------------------------------------------------------------------


async def _measure(candidates: list[Candidate]) -> None:
    for _ in range(ROUNDS):
        for candidate in candidates:
            for size in SIZES:
                candidate.latencies_us.setdefault(size, []).extend(await _trips(candidate, bytes(size)))
            if candidate.flood:
                candidate.rates.append(await candidate.flood(bytes(SIZES[0])) / FLOOD_S)


async def _trips(candidate: Candidate, payload: bytes) -> list[float]:
    until, times = time.perf_counter() + LATENCY_S, []
    async with asyncio.timeout(5):
        for _ in range(5):
            await candidate.trip(payload)
        while (begin := time.perf_counter()) < until:
            await candidate.trip(payload)
            times.append((time.perf_counter() - begin) * 1e6)
    return times


def _table(candidates: list[Candidate]) -> list[str]:
    lines = [
        f"{'':22}" + "".join(f"{f'{size} B: p50':>16}{'p99 us':>9}{'x floor':>9}" for size in SIZES) + f"{'msg/s':>10}"
    ]
    for candidate in candidates:
        line = f"{candidate.name:22}"
        for size in SIZES:
            times = sorted(candidate.latencies_us[size])
            ratio = _p50(candidate, size) / _p50(candidates[0], size)
            line += f"{_p50(candidate, size):16.0f}{times[int(len(times) * 0.99)]:9.0f}{ratio:9.1f}"
        rate = f"{statistics.median(candidate.rates):10.0f}" if candidate.rates else f"{'':>10}"
        lines.append(line + rate)
    return lines


def _p50(candidate: Candidate, size: int) -> float:
    return statistics.median(candidate.latencies_us[size])


async def _run(broker: Broker, echo_port: int, gate: bool) -> int:
    async with AsyncExitStack() as stack:
        candidates = await _candidates(stack, broker, echo_port)
        await _measure(candidates)
    print("\n".join(_table(candidates)))
    ratio = _p50(candidates[1], SIZES[0]) / _p50(candidates[0], SIZES[0])
    if gate and ratio > GATE_RATIO:
        print(f"HotBus takes {ratio:.1f} times the floor, the gate is {GATE_RATIO:g}")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gate", action="store_true")
    arguments = parser.parse_args()
    mine, theirs = multiprocessing.Pipe()
    echo = multiprocessing.get_context("spawn").Process(target=_echo_server, args=(theirs,), daemon=True)
    echo.start()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(find_program("mosquitto"), Path(folder), bind_free_port())
        broker.start()
        try:
            return uvloop.run(_run(broker, mine.recv(), arguments.gate))
        finally:
            broker.kill()
            echo.terminate()


if __name__ == "__main__":
    sys.exit(main())
