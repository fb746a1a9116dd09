"""One source's link: a named thread that polls a PLC, writes decisions before anything else, and mends the link.

Everything the thread has to say goes through `tell`, which must be safe to call from a thread and not block.
A decision or write waits for at most the request in progress: scans give way between two requests. Without a link
nothing is queued: decisions are counted as lost (the PLC's own watchdog acts), writes are refused at once.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.connectors import Connector
from edge.outputs import Change, OutputsMachine, Put, Step
from edge.poll import PollGroup, most_urgent
from edge.tags import Tag, coerce
from schemas.errors import ConnectorError, TagError
from schemas.messages import Decision, Output, Quality, Reading, Sample, Value

log = logging.getLogger(__name__)
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.1, 2.0
BAD_PERIOD_S = 1.0  # while the link is down, the tags are said to be Bad this often
COUNTERS_PERIOD_S = 1.0
DECISIONS_KEPT = 256  # older ones are dropped and counted: without a verdict the PLC rejects by itself
WRITES_KEPT = 32
_MS = 1_000_000
_NEVER_NS = 2**63 - 1


@dataclass(frozen=True)
class Decided:
    """A decision for the thread."""

    decision: Decision
    received_ns: int


@dataclass(frozen=True)
class WriteJob:
    """A write that the write path has admitted; `key` is for who asked."""

    key: tuple[str, str]
    tag: Tag
    value: bool | int | float | str


@dataclass(frozen=True)
class Written:
    """What became of a write: the value read back, or the problem."""

    job: WriteJob
    value: Value = None
    problem: str = ""


@dataclass(frozen=True)
class LinkChange:
    """The link came up, or went down for `reason`."""

    up: bool
    reason: str = ""


@dataclass(frozen=True)
class FailsafeChange:
    """The fail-safe of a pipeline's outputs was latched or released."""

    pipeline: str
    change: Change


@dataclass(frozen=True)
class OutputRefused:
    """The PLC refused an output's write (`problem`), or takes them again ("")."""

    pipeline: str
    problem: str


@dataclass(frozen=True)
class Counters:
    """Counters since the start, and maxima of the last second."""

    values: dict[str, float]


Told = Reading | Output | Written | LinkChange | FailsafeChange | OutputRefused | Counters


class SourceLink:
    """Polls one source and writes to it, in a thread of its own."""

    def __init__(
        self,
        name: str,
        groups: list[PollGroup],
        tags: Mapping[str, Tag],
        machines: Mapping[str, OutputsMachine],
        rearm_tags: Mapping[str, str],
        open_connector: Callable[[], Connector],
        tell: Callable[[Told], None],
        boot: str,
    ) -> None:
        """`machines` and `rearm_tags` are by pipeline."""
        self.progress_ns = time.monotonic_ns()
        self._name = name
        self._groups = groups
        self._tags = tags
        self._machines = machines
        self._rearm_tags = rearm_tags
        self._open_connector = open_connector
        self._tell = tell
        self._boot = boot
        self._inbox: queue.SimpleQueue[Decided | WriteJob | None] = queue.SimpleQueue()
        self._decisions: deque[Decided] = deque()
        self._writes: deque[WriteJob] = deque()
        self._connector: Connector | None = None
        self._stopping = False
        self._down = False
        self._why = ""
        self._tries = 0
        self._retry_ns = 0
        self._bad_ns = 0
        self._counters_ns = 0
        self._good_ns: dict[str, int] = dict.fromkeys(tags, self.progress_ns)
        self._refused: dict[str, str] = {}
        self._counts: dict[str, float] = dict.fromkeys(
            ("scans", "late_scans", "links", "losses", "outputs", "outputs_late", "outputs_failsafe", "decisions_lost",
             "decisions_repeated", "writes", "writes_failed"), 0.0,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name=f"source-{name}", daemon=True)

    # -- called from the loop -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write the fail-safe, end the thread and wait for it; return False if it hangs (it is a daemon)."""
        self._inbox.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, item: Decided | WriteJob) -> None:
        """Hand the thread a decision or an admitted write; returns at once."""
        self._inbox.put(item)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self.progress_ns = time.monotonic_ns()
            try:
                if self._connector is None:
                    self._wait_to_connect()
                else:
                    self._work(self._connector)
            except ConnectorError as error:
                self._lose(str(error))
            self._say_counters()
        self._finish()

    def _work(self, connector: Connector) -> None:
        """Wait for the next thing to do and do it."""
        group = most_urgent(self._groups)
        self._receive((min(group.due_ns, self._due_ns()) - time.monotonic_ns()) / 1e9)
        self._serve(connector)
        if time.monotonic_ns() >= group.due_ns and not self._stopping:
            self._scan(connector, group)

    def _due_ns(self) -> int:
        """When the outputs have something to write by themselves."""
        return min([_NEVER_NS, *(due for machine in self._machines.values() if (due := machine.due_ns) is not None)])

    def _receive(self, wait_s: float) -> None:
        """Take what came, waiting for the first at most `wait_s`; the newest decisions are kept."""
        try:
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
            while True:
                if item is None:
                    self._stopping = True
                elif isinstance(item, Decided):
                    self._decisions.append(item)
                else:
                    self._writes.append(item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        while len(self._decisions) > DECISIONS_KEPT:
            self._decisions.popleft()
            self._counts["decisions_lost"] += 1
        while len(self._writes) > WRITES_KEPT:
            self._tell(Written(self._writes.popleft(), problem=f"over {WRITES_KEPT} writes wait; try again later"))

    def _serve(self, connector: Connector) -> None:
        """Carry out decisions, then timers, then one write at a time."""
        while True:
            while self._decisions:
                decided = self._decisions.popleft()
                machine = self._machines[decided.decision.pipeline]
                step = machine.decide(decided.decision, decided.received_ns, time.monotonic_ns())
                self._carry_out(connector, decided.decision.pipeline, step)
            for pipeline, machine in self._machines.items():
                self._carry_out(connector, pipeline, machine.tick(time.monotonic_ns()))
            if not self._writes:
                return
            self._write(connector, self._writes.popleft())
            self._receive(0)

    def _tell_changes(self, pipeline: str, step: Step) -> None:
        for change in step.changes:
            self._tell(FailsafeChange(pipeline, change))

    def _carry_out(self, connector: Connector, pipeline: str, step: Step) -> None:
        self._tell_changes(pipeline, step)
        if not self._put_all(connector, pipeline, step.puts) or step.applied is None:
            return
        output = step.applied.output(time.monotonic_ns(), time.time_ns())
        self._counts["outputs"] += 1
        self._counts["outputs_late"] += output.late
        self._counts["outputs_failsafe"] += output.failsafe
        self._tell(output)

    def _put_all(self, connector: Connector, pipeline: str, puts: tuple[Put, ...]) -> bool:
        """Write in order; what the PLC refuses ends the rest, so that a part id never latches an older verdict."""
        if not puts:
            return True
        try:
            for put in puts:
                tag = self._tags[put.tag]
                connector.write(tag, coerce(tag, put.value))
        except TagError as error:
            if self._refused.get(pipeline) != str(error):
                self._refused[pipeline] = str(error)
                self._tell(OutputRefused(pipeline, str(error)))
            return False
        if self._refused.pop(pipeline, ""):
            self._tell(OutputRefused(pipeline, ""))
        return True

    def _write(self, connector: Connector, job: WriteJob) -> None:
        """Write and read back."""
        try:
            connector.write(job.tag, job.value)
            back = {name: sample for part in connector.read([job.tag]) for name, sample in part.items()}
        except TagError as error:
            self._counts["writes_failed"] += 1
            self._tell(Written(job, problem=str(error)))
            return
        except ConnectorError as error:
            self._counts["writes_failed"] += 1
            self._tell(Written(job, problem=f"{error}; whether the value arrived is not known"))
            raise
        sample = back.get(job.tag.name, Sample(quality=Quality.BAD, reason="not read back"))
        self._counts["writes"] += 1
        self._tell(Written(job, sample.value, "" if sample.quality is Quality.GOOD else sample.reason))

    # -- scans --------------------------------------------------------------------------------------------------------

    def _scan(self, connector: Connector, group: PollGroup) -> None:
        """Scan a group, giving way to decisions and writes between its requests, and publish it."""
        scan_ns, time_ns = time.monotonic_ns(), time.time_ns()
        group.begin(scan_ns)
        samples: dict[str, Sample] = {}
        waited_ns = 0
        for part in connector.read(group.tags):
            samples |= part
            gave_way_ns = time.monotonic_ns()
            self._receive(0)
            if self._decisions or self._writes or self._due_ns() <= gave_way_ns:
                self._serve(connector)
                waited_ns += time.monotonic_ns() - gave_way_ns
        scan_ms = (time.monotonic_ns() - scan_ns - waited_ns) / _MS
        group.end(scan_ms)
        self._tell(self._reading(group, scan_ns, scan_ms, time_ns, self._aged(samples, scan_ns)))
        for pipeline, name in self._rearm_tags.items():
            sample = samples.get(name)
            if sample is not None and sample.value is True:
                machine = self._machines[pipeline]
                self._carry_out(connector, pipeline, machine.rearm(True, scan_ns, time.monotonic_ns()))

    def _aged(self, samples: dict[str, Sample], scan_ns: int) -> dict[str, Sample]:
        for name, sample in samples.items():
            if sample.quality is Quality.GOOD:
                self._good_ns[name] = scan_ns
            else:
                samples[name] = self._bad(name, sample.reason, scan_ns)
        return samples

    def _bad(self, name: str, reason: str, now_ns: int) -> Sample:
        return Sample(quality=Quality.BAD, reason=reason, age_ms=(now_ns - self._good_ns[name]) / _MS)

    def _reading(
        self, group: PollGroup, scan_ns: int, scan_ms: float, time_ns: int, tags: dict[str, Sample]
    ) -> Reading:
        return Reading(
            source=self._name, group=group.name, boot=self._boot, scan_ns=scan_ns, scan_ms=scan_ms, time_ns=time_ns,
            tags=tags,
        )  # fmt: skip

    def _say_bad(self, reason: str) -> None:
        """Publish every tag as Bad."""
        now_ns = time.monotonic_ns()
        self._bad_ns = now_ns + int(BAD_PERIOD_S * 1e9)
        for group in self._groups:
            bad = {tag.name: self._bad(tag.name, reason, now_ns) for tag in group.tags}
            self._tell(self._reading(group, now_ns, 0.0, time.time_ns(), bad))

    # -- the link -----------------------------------------------------------------------------------------------------

    def _wait_to_connect(self) -> None:
        """Without a link: refuse what comes, say that the tags are Bad, and try again with backoff."""
        now_ns = time.monotonic_ns()
        wake_ns = min(self._retry_ns, self._bad_ns) if self._down else self._retry_ns
        self._receive((wake_ns - now_ns) / 1e9)
        self._give_up_waiting("the link to the PLC is down")
        now_ns = time.monotonic_ns()
        if self._down and now_ns >= self._bad_ns:
            self._say_bad(self._why)
        if now_ns >= self._retry_ns and not self._stopping:
            self._connect()

    def _give_up_waiting(self, reason: str) -> None:
        self._counts["decisions_lost"] += sum(one.decision.part_id is not None for one in self._decisions)
        self._decisions.clear()
        while self._writes:
            self._counts["writes_failed"] += 1
            self._tell(Written(self._writes.popleft(), problem=reason))

    def _connect(self) -> None:
        """Open a new connector, write the fail-safe first, and count the link as up once a scan has succeeded."""
        connector = self._open_connector()
        self._connector = connector
        connector.connect()
        why = "started" if self._counts["links"] == 0 else "the link to the PLC came back"
        for pipeline, machine in self._machines.items():
            self._carry_out(connector, pipeline, machine.begin(time.monotonic_ns(), why))
        for group in self._groups:
            group.restart(time.monotonic_ns())
        for group in self._groups:
            self._scan(connector, group)
        self._counts["links"] += 1
        self._tries = 0
        self._down = False
        self._tell(LinkChange(up=True))

    def _lose(self, reason: str) -> None:
        """Close the link and say so once: the outcome of a loss stands next to the connection."""
        now_ns = time.monotonic_ns()
        if self._connector is not None:
            self._connector.close()
            self._connector = None
        delay_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2**self._tries) * random.uniform(0.7, 1.0)  # noqa: S311 - jitter
        self._tries = min(self._tries + 1, 10)
        self._retry_ns = now_ns + int(delay_s * 1e9)
        self._why = reason
        self._give_up_waiting(reason)
        if self._down:
            return
        self._down = True
        self._counts["losses"] += 1
        self._say_bad(reason)
        self._tell(LinkChange(up=False, reason=reason))
        for pipeline, machine in self._machines.items():
            self._tell_changes(pipeline, machine.lost(now_ns, reason))

    def _finish(self) -> None:
        """The process stops: leave the PLC with the fail-safe."""
        if self._connector is None:
            return
        try:
            for pipeline, machine in self._machines.items():
                self._carry_out(self._connector, pipeline, machine.end(time.monotonic_ns()))
        except ConnectorError as error:
            log.info(
                "%s: the fail-safe could not be written at the end (%s); the PLC's watchdog acts", self._name, error
            )
        self._connector.close()

    def _say_counters(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns < self._counters_ns:
            return
        self._counters_ns = now_ns + int(COUNTERS_PERIOD_S * 1e9)
        values = dict(self._counts)
        values["scans"] = float(sum(group.scans for group in self._groups))
        values["late_scans"] = float(sum(group.late_scans for group in self._groups))
        values["decisions_repeated"] = float(sum(machine.repeats for machine in self._machines.values()))
        for group in self._groups:
            values[f"{group.name}_scan_ms_max"], values[f"{group.name}_jitter_ms_max"] = group.take_maxima()
        self._tell(Counters(values))
