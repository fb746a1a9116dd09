"""Asks `connect` for what an OPC UA client wants to write, and waits for its answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

from asyncua.ua.status_codes import StatusCodes

from bus.codec import decode, encode
from edge.opcua_server.writing import STATUS, Target
from edge.process import Process
from schemas.errors import BusDisconnected, BusRefused, CodecError, RequestTimeout
from schemas.fields import Value
from schemas.messages import Reply, ReplyCode, Write
from schemas.topics import REPLY, WRITE

ANSWER_S: Final = 4.0  # under what OPC UA clients wait, 5 s and more


class WriteRequests:
    """Write requests of this process; `told` hears what the PLC holds after each that was carried out."""

    def __init__(self, process: Process, told: Callable[[Target, Value], Awaitable[None]]) -> None:
        """Ask nothing yet."""
        self._process = process
        self._told = told
        self._epoch, self._seq = time.time_ns(), 0

    async def carry(self, target: Target, value: Value, user: str) -> int:
        """Return the status code of one write."""
        process = self._process
        self._seq += 1
        wanted = Write(
            epoch=self._epoch, seq=self._seq, request_id=uuid4().hex, tag=target.tag.name, value=value,
            asked_ns=time.time_ns(), on_behalf=user[:64],
        )  # fmt: skip
        if not process.bus.connected:
            return StatusCodes.BadNoCommunication
        try:
            answer = await process.bus.request(
                WRITE.name(process.place, source=target.source, origin=process.identity), encode(WRITE, wanted),
                reply_to=REPLY.name(process.place, origin=process.identity), timeout_s=ANSWER_S,
            )  # fmt: skip
            reply = decode(REPLY, Reply, answer.payload)
        except (BusDisconnected, BusRefused):
            return StatusCodes.BadNoCommunication
        except RequestTimeout:
            return StatusCodes.BadTimeout  # whether it was carried out is not known
        except CodecError:
            return StatusCodes.BadUnexpectedError
        if reply.ok or reply.code is ReplyCode.MISMATCH:
            await self._told(target, reply.value)
        return STATUS[reply.code]
