"""Sends what lies behind rejects to the historian: after their decisions and results have left, over the bulk lane."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from edge.inference.witness import Computer, Seen, Witness
from schemas.evidence import Evidence
from schemas.topics import EVIDENCE

if TYPE_CHECKING:
    from bus import Bus
    from edge.engines import Engine
    from edge.inference.pipeline import Pipeline
    from edge.inference.work import Answer
    from edge.process import Process


class EvidenceVoice:
    """Of one pipeline."""

    def __init__(self, process: Process, pipeline: Pipeline, bulk: Bus, machine: str) -> None:
        """`machine` is this machine's fingerprint."""
        self.sent = self.dropped = 0
        self._pipeline, self._machine = pipeline, machine
        self._witness = Witness(pipeline.settings)
        self._publisher = process.publisher(EVIDENCE, Evidence, bulk, pipeline=pipeline.name)
        self._loop = asyncio.get_running_loop()
        self._engine: Engine | None = None
        self._computer: Computer | None = None

    def see(self, answer: Answer) -> None:
        """Note an answer that has been published; what is kept of it is encoded after the sockets were served."""
        seen = self._witness.see(answer)
        graph = self._pipeline.graph(answer.variant) if seen else None
        if seen and graph:
            self._loop.call_soon(self._send, seen, graph.judge.engine)

    def _send(self, seen: Seen, engine: Engine) -> None:
        evidence = self._witness.testify(seen, self._named(engine))
        if evidence and self._publisher.send(evidence):
            self.sent += 1
        else:
            self.dropped += 1

    def _named(self, engine: Engine) -> Computer:
        """Who computed; asked anew when a model was loaded anew, for its engine may be another."""
        if self._computer is None or engine is not self._engine:
            options = msgspec.json.encode(dict(engine.setup.options)).decode()
            self._engine, self._computer = engine, Computer(engine.setup.name, engine.version(), options, self._machine)
        return self._computer
