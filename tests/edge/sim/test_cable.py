"""The cable: cut it loses what a dead connection had on its way, slow it delays, garbage it corrupts."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.sim.cable import Cable


class Echo:
    """A server that answers with what it gets, and keeps it."""

    def __init__(self) -> None:
        self.got = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1000):
                self.got += piece
                writer.write(piece)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def laid() -> AsyncIterator[tuple[Cable, int, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    cable = Cable()
    port = cable.lay("127.0.0.1", 0, server.sockets[0].getsockname()[1])
    try:
        yield cable, port, echo
    finally:
        cable.close()
        server.close()


async def ask(port: int, what: bytes, timeout_s: float) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(what)
        async with asyncio.timeout(timeout_s):
            return await reader.readexactly(len(what))
    finally:
        writer.close()


async def test_a_whole_cable_passes_everything() -> None:
    async with laid() as (_, port, _echo):
        assert await ask(port, b"hello" * 1000, 5) == b"hello" * 1000


async def test_a_cut_cable_passes_nothing_and_resets_nobody_until_it_is_mended() -> None:
    async with laid() as (cable, port, echo):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        cable.damage("cut", 60)
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        with pytest.raises(TimeoutError):
            await ask(port, b"new", 0.1)
        assert echo.got == b""
        cable.clear()
        async with asyncio.timeout(5):
            assert await reader.readexactly(4) == b"held", "a live connection goes on, as TCP sends again"
        writer.close()


async def test_what_a_reset_connection_had_on_its_way_never_arrives() -> None:
    async with laid() as (cable, port, echo):
        with socket.create_connection(("127.0.0.1", port)) as link:
            await asyncio.sleep(0.05)  # until the relay has taken it
            cable.damage("cut", 60)
            link.sendall(b"stale")
            await asyncio.sleep(0.05)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        cable.clear()
        assert await ask(port, b"fresh", 5) == b"fresh"
        assert echo.got == b"fresh"


async def test_a_fault_ends_by_itself() -> None:
    async with laid() as (cable, port, _):
        cable.damage("cut", 0.1)
        assert await ask(port, b"x", 5) == b"x"
        assert cable.fault is None


async def test_a_slow_cable_delays_both_ways() -> None:
    async with laid() as (cable, port, _):
        cable.damage("slow", 60, delay_s=0.05)
        began = time.monotonic()
        await ask(port, b"x", 5)
        assert time.monotonic() - began > 0.1


async def test_garbage_changes_what_the_server_says_and_not_what_it_hears() -> None:
    async with laid() as (cable, port, echo):
        cable.damage("garbage", 60)
        assert await ask(port, b"\0" * 500, 5) != b"\0" * 500
        assert echo.got == b"\0" * 500
