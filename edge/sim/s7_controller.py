"""The simulated PLC's S7 server: the ladder's state in two data blocks, mapped as in edge/sim/demo/tags/plant-s7.csv.

python-snap7's server has threads of its own and a copy of the data: DB1 (what is read) is refreshed each few
milliseconds, and what is written to DB2 is carried out on the loop before the server acknowledges it. It writes a whole
byte for a bit, so each bit that is written lies in a byte of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import Final, Literal

from snap7.error import S7Error
from snap7.server import Server
from snap7.type import SrvArea, SrvEvent

from edge.sim.image import Image, LineState
from edge.sim.ladder import Ladder

READ_DB, WRITTEN_DB = 1, 2
REFRESH_S: Final = 0.002
_READ: Final = struct.Struct(">fhhIHBx")
_REJECT, _ARMED, _PART_ID, _HEARTBEAT, _SETPOINT = 0, 2, 4, 8, 10
_WRITTEN_BYTES: Final = 14
_DATA_WRITTEN: Final = 0x0004_0000  # the server's event code
_CARRIED_OUT_S: Final = 1.0


class S7Controller:
    """Serves ladder and line over S7."""

    name = "s7"

    def __init__(self, ladder: Ladder, line: LineState) -> None:
        """Serve nobody until `listen`."""
        self.requests = 0
        self._image = Image(ladder, line)
        self._read = bytearray(_READ.size)
        self._written = bytearray(_WRITTEN_BYTES)
        self._written[_REJECT] = ladder.reject
        struct.pack_into(">f", self._written, _SETPOINT, line.speed_setpoint_ppm)
        self._server = Server(log=False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        logging.getLogger("snap7").setLevel(logging.CRITICAL)  # a client's mistakes are no news of the plant's
        self._loop = asyncio.get_running_loop()
        with socket.create_server((host, port)) as free:  # the server itself would share a port that is taken
            port = int(free.getsockname()[1])
        self._server.host = host
        self._server.register_area(SrvArea.DB, READ_DB, self._read)
        self._server.register_area(SrvArea.DB, WRITTEN_DB, self._written)
        self._server.set_events_callback(self._happened)
        self._server.set_read_events_callback(self._was_read)
        try:
            self._server.start(port)
        except S7Error as error:
            raise OSError(f"port {port}: {error}") from error
        self._refreshing = asyncio.create_task(self._refresh())
        return port

    async def close(self) -> None:
        """Stop to serve."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        with contextlib.suppress(S7Error, OSError):
            await asyncio.to_thread(self._server.stop)

    def spoil(self, kind: Literal["wrong-type", "freeze"] | None) -> None:
        """Stand still, or have no DB1, as after a download of another program."""
        self._image.freeze(kind == "freeze")
        self._server.unregister_area(SrvArea.DB, READ_DB)
        if kind != "wrong-type":
            self._server.register_area(SrvArea.DB, READ_DB, self._read)

    async def _refresh(self) -> None:
        while True:
            shown = self._image.shown()
            bits = shown.trigger | shown.running << 1 | shown.rearm << 2 | shown.watchdog_tripped << 3
            _READ.pack_into(
                self._read, 0, shown.speed_ppm, shown.motor_decidegrees, shown.fill_decidegrees, shown.parts,
                shown.heartbeat, bits,
            )  # fmt: skip
            await asyncio.sleep(REFRESH_S)

    def _was_read(self, event: SrvEvent) -> None:
        """Called by the server's threads."""
        del event
        self.requests += 1

    def _happened(self, event: SrvEvent) -> None:
        """Called by the server's threads: carry out what was written before it is acknowledged."""
        if event.EvtCode != _DATA_WRITTEN or event.EvtParam2 != WRITTEN_DB or self._loop is None:
            return
        start, data = event.EvtParam3, bytes(self._written)
        work = self._carry_out(range(start, start + event.EvtParam4), data)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CARRIED_OUT_S)

    async def _carry_out(self, touched: range, data: bytes) -> None:
        self.requests += 1
        if _REJECT in touched:
            self._image.put_reject(bool(data[_REJECT]))
        if _ARMED in touched:
            self._image.put_armed(bool(data[_ARMED]))
        if _PART_ID in touched:
            self._image.put_part(struct.unpack_from(">I", data, _PART_ID)[0])
        if _HEARTBEAT in touched:
            self._image.put_heartbeat(struct.unpack_from(">H", data, _HEARTBEAT)[0])
        if _SETPOINT in touched:
            self._image.put_speed(struct.unpack_from(">f", data, _SETPOINT)[0])
