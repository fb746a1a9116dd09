"""A tap before TLS: it ends the uplink's mutual TLS, keeps every byte in the clear, and goes on to the real broker.

The device's own key opens the second leg, so the fleet's broker sees the device as ever.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from bus import Address, Tls
from cloud.pki import Pair


class Tap:
    """Everything that went up and down, as MQTT in the clear."""

    def __init__(self) -> None:
        self.up = bytearray()
        self.down = bytearray()
        self.port = 0


@contextlib.asynccontextmanager
async def tapped(fleet: Address, server: Pair, ca: Path, device: Tls) -> AsyncIterator[Tap]:
    """Listen with the fleet's own server certificate; the uplink can't tell the difference."""
    tap = Tap()
    inward = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    inward.verify_mode = ssl.CERT_REQUIRED
    inward.load_cert_chain(server.certificate, server.key)
    outward = ssl.create_default_context(cafile=str(ca))
    outward.load_cert_chain(device.certificate, device.key)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.current_task())  # type: ignore[arg-type]
        try:
            there, back = await asyncio.open_connection(fleet.host, fleet.port, ssl=outward)
            await asyncio.wait(
                [
                    asyncio.ensure_future(_pump(reader, back, tap.up)),
                    asyncio.ensure_future(_pump(there, writer, tap.down)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for side in (back, writer):
                side.close()
        except (OSError, ssl.SSLError):
            writer.close()
        finally:
            tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=inward)
    tap.port = listener.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
