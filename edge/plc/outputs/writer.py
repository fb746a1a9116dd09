"""Carries out what the outputs' state machines and the tags' fail-safes ask for, on the thread of their source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from edge.connectors import Connector
from edge.plc.outputs.machine import BY_PLC, Applied, OutputsMachine, Step
from edge.plc.outputs.request_bits import Put
from edge.plc.outputs.table import manual_tags
from edge.plc.outputs.tag_failsafes import TagFailsafes
from edge.plc.outputs.write_rules import mode_tag
from edge.plc.tags.lists import Tag, coerce
from edge.plc.told import Decided, FailsafeChange, OutputRefused, OwnerChange, Tell, WriteJob
from schemas.errors import TagError, WriteRefused
from schemas.fields import Value
from schemas.messages import Quality, ReplyCode, Sample

MANUAL, AUTO = "manual", "auto"
REQUESTED = "a write request"  # whoever asks: one may give back what another took, and the audit names both


@dataclass
class OutputCounts:
    """What was written since the start. `outputs_failed`: refused by the PLC, or the link was lost meanwhile."""

    outputs: int = 0
    outputs_failed: int = 0
    outputs_late: int = 0
    outputs_failsafe: int = 0
    outputs_manual: int = 0


class OutputWriter:
    """Writes the outputs of all pipelines of one source. Every method that writes may raise ConnectorError."""

    def __init__(
        self,
        machines: Mapping[str, OutputsMachine],
        heard: Mapping[str, Mapping[str, str]],
        tags: Mapping[str, Tag],
        tell: Tell,
        failsafes: TagFailsafes,
    ) -> None:
        """`machines`, and in `heard` what the PLC says to them (key -> tag), are by pipeline.

        `failsafes` are of the tags that no pipeline writes.
        """
        self.counts = OutputCounts()
        self._machines = machines
        self._heard = heard
        self._tags = tags
        self._tell = tell
        self.failsafes = failsafes
        self._refused: dict[tuple[str, str], str] = {}
        self._modes = {mode_tag(pipeline).name: pipeline for pipeline in machines}
        self._operators = {
            name: pipeline for pipeline, one in machines.items() for name in manual_tags(one.outputs) if name
        }

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

    @property
    def modes(self) -> dict[str, bool]:
        """By pipeline, whether its outputs are the operator's."""
        return {name: machine.manual for name, machine in self._machines.items()}

    @property
    def acks_missed(self) -> int:
        """Results that the PLC did not acknowledge in time."""
        return sum(machine.handshake.missed for machine in self._machines.values())

    @property
    def results_dropped(self) -> int:
        """Results that waited for an acknowledgement until a newer one took their place, or the link was lost."""
        return sum(machine.handshake.dropped for machine in self._machines.values())

    def switch(self, connector: Connector, job: WriteJob) -> str | None:
        """Carry out a write of a pipeline's mode; return the mode that holds now, None if the write is of a real tag.

        Raises:
            WriteRefused: no such mode, or the tag is a pipeline's while its outputs are automatic.
            ConnectorError: the link failed.
        """
        pipeline = self._modes.get(job.tag.name)
        if pipeline is None:
            self._refuse_while_automatic(job.tag)
            return None
        if job.value not in (MANUAL, AUTO):
            reason = f"{job.tag.name} is {AUTO!r} or {MANUAL!r}, not {job.value!r}"
            raise WriteRefused(reason, ReplyCode.OUT_OF_RANGE)
        machine = self._machines[pipeline]
        self._carry_out(connector, pipeline, machine.own(job.value == MANUAL, REQUESTED, time.monotonic_ns()))
        return MANUAL if machine.manual else AUTO

    def _refuse_while_automatic(self, tag: Tag) -> None:
        pipeline = self._operators.get(tag.name)
        if pipeline is not None and not self._machines[pipeline].manual:
            remedy = f"write {MANUAL!r} to {mode_tag(pipeline).name} first"
            raise WriteRefused(
                f"{tag.name} is written by a pipeline's decisions alone; {remedy}", ReplyCode.NOT_WRITABLE
            )

    def scanned(self, connector: Connector, samples: Mapping[str, Sample], scan_ns: int) -> None:
        """Hear what the PLC says to the outputs, in a scan that began at `scan_ns`."""
        for pipeline, tags in self._heard.items():
            for key, name in tags.items():
                sample = samples.get(name)
                if sample is not None and sample.quality is Quality.GOOD:
                    step = self._hear(self._machines[pipeline], key, sample.value, scan_ns)
                    self._carry_out(connector, pipeline, step)

    @staticmethod
    def _hear(machine: OutputsMachine, key: str, value: Value, scan_ns: int) -> Step:
        now_ns = time.monotonic_ns()
        if key == "result_ack":
            return machine.acknowledge(value, now_ns) if isinstance(value, int) else Step()
        if key == "request":
            return machine.request(value is True, scan_ns, now_ns)
        if key == "manual":
            return machine.own(value is True, BY_PLC, now_ns)
        return machine.rearm(value is True, scan_ns, now_ns)

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
        for one in step.owners:
            self._tell(OwnerChange(pipeline, one))
        for change in step.changes:
            self._tell(FailsafeChange(pipeline, change))
        for settled in step.settled:
            self._say_output(settled)

    def _say_output(self, applied: Applied) -> None:
        output = applied.output(time.monotonic_ns(), time.time_ns())
        self.counts.outputs_manual += output.manual
        self.counts.outputs += not output.manual
        self.counts.outputs_late += output.late and not output.manual
        self.counts.outputs_failsafe += output.failsafe
        self._tell(output)

    def _carry_out(self, connector: Connector, pipeline: str, step: Step) -> None:
        """Write, then tell: who hears of the fail-safe finds it in the PLC, unless the link failed."""
        done = False
        try:
            done = self._put_all(connector, pipeline, step.puts)
        finally:
            self.counts.outputs_failed += step.applied is not None and not done
            self._say(pipeline, step)
        if done and step.applied is not None:
            self._say_output(step.applied)

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
