"""Requests to learn anew, from the bus: carried out, and answered to the one who asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bus.codec import encode
from schemas.messages import Relearn, Reply
from schemas.topics import RELEARN, REPLY

if TYPE_CHECKING:
    from bus import Delivery
    from edge.process import Process


class RelearnRequests:
    """Those for the pipelines of one runtime. `carry_out`: who asked -> False where the pipeline is not watched."""

    def __init__(self, process: Process, pipelines: Mapping[str, Callable[[str], bool]]) -> None:
        """Read nothing yet."""
        self._process, self._pipelines = process, pipelines
        self._epoch, self._seq = time.time_ns(), 0

    async def attach(self) -> None:
        """Subscribe for each pipeline."""
        for name in self._pipelines:
            await self._process.read(RELEARN, Relearn, self._take, pipeline=name)

    def _take(self, request: Relearn, delivery: Delivery) -> None:
        fields = RELEARN.parse(delivery.topic) or {}
        pipeline, origin = fields.get("pipeline", ""), fields.get("origin", "")
        carry_out = self._pipelines.get(pipeline)
        if carry_out is None:
            return
        watched = carry_out(origin)
        if delivery.response_topic != REPLY.name(self._process.place, origin=origin):
            return  # nobody makes us publish anywhere but where that origin's answers go
        self._seq += 1
        reply = Reply(
            epoch=self._epoch, seq=self._seq, request_id=request.request_id, ok=watched, value=pipeline,
            reason="" if watched else f"pipeline {pipeline} is not watched: its settings say drift.enabled = false",
        )  # fmt: skip
        correlation = bytes(delivery.correlation)
        self._process.bus.publish(delivery.response_topic, encode(REPLY, reply), qos=REPLY.qos, correlation=correlation)
