"""Carries out what the outputs' state machines and the tags' fail-safes ask for, on the thread of their source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from edge.connectors import Connector
from edge.plc.outputs import OutputsMachine, Put, Step
from edge.plc.tag_failsafes import TagFailsafes
from edge.plc.tags import Tag, coerce
from edge.plc.told import Decided, FailsafeChange, OutputRefused, Tell
from schemas.errors import TagError
from schemas.messages import Quality, Sample


@dataclass
class OutputCounts:
    """What was written since the start. `outputs_failed`: refused by the PLC, or the link was lost meanwhile."""

    outputs: int = 0
    outputs_failed: int = 0
    outputs_late: int = 0
    outputs_failsafe: int = 0


class OutputWriter:
    """Writes the outputs of all pipelines of one source. Every method that writes may raise ConnectorError."""

    def __init__(
        self,
        machines: Mapping[str, OutputsMachine],
        rearm_tags: Mapping[str, str],
        tags: Mapping[str, Tag],
        tell: Tell,
        failsafes: TagFailsafes,
    ) -> None:
        """`machines` and `rearm_tags` are by pipeline; `failsafes` are of the tags that no pipeline writes."""
        self.counts = OutputCounts()
        self._machines = machines
        self._rearm_tags = rearm_tags
        self._tags = tags
        self._tell = tell
        self.failsafes = failsafes
        self._refused: dict[tuple[str, str], str] = {}

    @property
    def due_ns(self) -> int:
        """When there is something to write by itself."""
        return min(
            [
                self.failsafes.due_ns,
                *(due for machine in self._machines.values() if (due := machine.due_ns) is not None),
            ]
        )

    @property
    def repeats(self) -> int:
        """Decisions that had been carried out before."""
        return sum(machine.repeats for machine in self._machines.values())

    def begin(self, connector: Connector, reason: str) -> None:
        """Write the fail-safe first."""
        for pipeline, machine in self._machines.items():
            self._carry_out(connector, pipeline, machine.begin(time.monotonic_ns(), reason))
        self.failsafes.put_all(connector, reason)

    def decide(self, connector: Connector, decided: Decided) -> None:
        """Write one decision."""
        pipeline = decided.decision.pipeline
        step = self._machines[pipeline].decide(decided.decision, decided.received_ns, time.monotonic_ns())
        self._carry_out(connector, pipeline, step)

    def tick(self, connector: Connector) -> None:
        """Let leases expire and heartbeats advance."""
        for pipeline, machine in self._machines.items():
            self._carry_out(connector, pipeline, machine.tick(time.monotonic_ns()))
        self.failsafes.tick(connector, time.monotonic_ns())

    def scanned(self, connector: Connector, samples: Mapping[str, Sample], scan_ns: int) -> None:
        """See whether the PLC re-arms, in a scan that began at `scan_ns`."""
        for pipeline, name in self._rearm_tags.items():
            sample = samples.get(name)
            if sample is not None and sample.quality is Quality.GOOD and sample.value is True:
                step = self._machines[pipeline].rearm(True, scan_ns, time.monotonic_ns())
                self._carry_out(connector, pipeline, step)

    def lost(self, reason: str) -> None:
        """The link is down."""
        for pipeline, machine in self._machines.items():
            self._say(pipeline, machine.lost(time.monotonic_ns(), reason))

    def end(self, connector: Connector) -> None:
        """The process stops: leave the PLC with the fail-safe."""
        for pipeline, machine in self._machines.items():
            self._carry_out(connector, pipeline, machine.end(time.monotonic_ns()))
        self.failsafes.put_all(connector, "connect stops")

    def _say(self, pipeline: str, step: Step) -> None:
        for change in step.changes:
            self._tell(FailsafeChange(pipeline, change))

    def _carry_out(self, connector: Connector, pipeline: str, step: Step) -> None:
        """Write, then tell: who hears of the fail-safe finds it in the PLC, unless the link failed."""
        done = False
        try:
            done = self._put_all(connector, pipeline, step.puts)
        finally:
            self.counts.outputs_failed += step.applied is not None and not done
            self._say(pipeline, step)
        if not done or step.applied is None:
            return
        output = step.applied.output(time.monotonic_ns(), time.time_ns())
        self.counts.outputs += 1
        self.counts.outputs_late += output.late
        self.counts.outputs_failsafe += output.failsafe
        self._tell(output)

    def _put_all(self, connector: Connector, pipeline: str, puts: tuple[Put, ...]) -> bool:
        """Write in order; what the PLC refuses ends the rest, so that a part id never latches an older verdict."""
        for put in puts:
            tag, problem = self._tags[put.tag], ""
            try:
                connector.write(tag, coerce(tag, put.value))
            except TagError as error:
                problem = str(error)
            if self._refused.get((pipeline, put.tag), "") != problem:
                self._refused[pipeline, put.tag] = problem
                self._tell(OutputRefused(pipeline, put.tag, problem))
            if problem:
                return False
        return True
