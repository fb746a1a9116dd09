"""Sends what lies behind rejects to the historian: after their decisions and results have left, over the bulk lane."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge.engines import load_engine
from edge.inference.witness import Computer, Seen, Witness
from schemas.evidence import Evidence
from schemas.topics import EVIDENCE

if TYPE_CHECKING:
    from bus import Bus
    from edge.inference.work import Answer
    from edge.process import Process


class EvidenceVoice:
    """Of one pipeline."""

    def __init__(self, process: Process, name: str, bulk: Bus, machine: str) -> None:
        """`machine` is this machine's fingerprint."""
        self.witness = Witness(process.settings.pipelines[name])
        self.sent = self.dropped = 0
        self._engine, self._machine = process.settings.runtime.engine, machine
        self._publisher = process.publisher(EVIDENCE, Evidence, bulk, pipeline=name)
        self._loop = asyncio.get_running_loop()
        self._computer: Computer | None = None

    def see(self, answer: Answer) -> None:
        """Note an answer that has been published; what is kept of it is encoded after the sockets were served."""
        seen = self.witness.see(answer)
        if seen:
            self._loop.call_soon(self._send, seen)

    def _send(self, seen: Seen) -> None:
        if self._computer is None:  # a model has run: its engine is loaded, and only looked up here
            self._computer = Computer(self._engine, load_engine(self._engine).version(), self._machine)
        evidence = self.witness.testify(seen, self._computer)
        if evidence and self._publisher.send(evidence):
            self.sent += 1
        else:
            self.dropped += 1
