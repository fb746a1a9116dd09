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
from dataclasses import asdict

from msgspec import structs

from edge.connectors import Connector
from edge.plc.alive import Alive
from edge.plc.outputs.machine import OutputsMachine
from edge.plc.outputs.tag_failsafes import TagFailsafes
from edge.plc.outputs.writer import OutputWriter
from edge.plc.poll import PollGroup, most_urgent
from edge.plc.tags.lists import Tag
from edge.plc.told import Counters, Decided, LinkChange, Tell, WriteJob, Written
from schemas.errors import ConnectorError, TagError, WriteRefused
from schemas.messages import LINK_LOST, Decision, Proof, Quality, Reading, ReplyCode, Sample

log = logging.getLogger(__name__)
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.1, 2.0
BAD_PERIOD_S = 1.0  # while the link is down, the tags are said to be Bad this often
COUNTERS_PERIOD_S = 1.0
ALIVE_ASK_S = 0.05  # between two looks at a heartbeat that stood still
DECISIONS_KEPT = 256  # older ones are dropped and counted: without a verdict the PLC rejects by itself
WRITES_KEPT = 32
_MS = 1_000_000


class SourceLink:
    """Polls one source and writes to it, in a thread of its own."""

    def __init__(
        self,
        name: str,
        groups: list[PollGroup],
        tags: Mapping[str, Tag],
        machines: Mapping[str, OutputsMachine],
        heard: Mapping[str, Mapping[str, str]],
        open_connector: Callable[[], Connector],
        tell: Tell,
        boot: str,
        failsafes: TagFailsafes | None = None,
        alive: Alive | None = None,
    ) -> None:
        """`machines` and `heard` are by pipeline, see `OutputWriter`, as are `failsafes`."""
        self.progress_ns = time.monotonic_ns()
        self._name = name
        self._groups = groups
        self._outputs = OutputWriter(machines, heard, tags, tell, failsafes or TagFailsafes((), tell))
        self._open_connector = open_connector
        self._alive = alive
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
        self._links = self._losses = self._writes_done = self._writes_failed = 0
        self._decisions_lost = self._decisions_expired = 0
        self._took_ns = 0  # the last decision, from taken to acknowledged
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

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, item: Decided | WriteJob) -> None:
        """Hand the thread a decision or an admitted write; returns at once."""
        self._inbox.put(item)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
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
        self._receive((min(group.due_ns, self._outputs.due_ns) - time.monotonic_ns()) / 1e9)
        self._serve(connector)
        if time.monotonic_ns() >= group.due_ns and not self._stopping:
            self._scan(connector, group)

    def _receive(self, wait_s: float) -> None:
        """Take what came, waiting for the first at most `wait_s`; the newest decisions are kept."""
        self.progress_ns = time.monotonic_ns()
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
            self._decisions_lost += self._decisions.popleft().decision.proof is Proof.PART
        while len(self._writes) > WRITES_KEPT:
            self._tell(
                Written(
                    self._writes.popleft(),
                    problem=f"over {WRITES_KEPT} writes wait; try again later",
                    code=ReplyCode.RATE,
                )
            )

    def _serve(self, connector: Connector) -> None:
        """Carry out decisions, then timers, then one write at a time."""
        while True:
            while self._decisions:
                self._decide(connector, self._decisions.popleft())
            self._outputs.tick(connector)
            if not self._writes:
                return
            self._write(connector, self._writes.popleft())
            self._receive(0)

    def _decide(self, connector: Connector, decided: Decided) -> None:
        """Carry out one decision, or leave it if it can't be in time and one that may be waits behind it.

        Without a verdict the PLC rejects the part by itself: writing the fail-safe for each of a backlog would make
        every later decision late as well.
        """
        self.progress_ns = now_ns = time.monotonic_ns()
        decision = decided.decision
        is_part = decision.proof is Proof.PART
        too_late = now_ns + self._took_ns > decision.deadline_ns
        if too_late and any(_follows(other.decision, decision) for other in self._decisions):
            self._decisions_expired += is_part
            return
        self._outputs.decide(connector, decided)
        if is_part:
            self._took_ns = time.monotonic_ns() - now_ns

    def _write(self, connector: Connector, job: WriteJob) -> None:
        """Write and read back."""
        try:
            mode = self._outputs.switch(connector, job)
            if mode is not None:
                self._writes_done += 1
                self._tell(Written(job, mode))
                return
            self._outputs.failsafes.written(job.tag)
            connector.write(job.tag, job.value)
            back = {name: sample for part in connector.read([job.tag]) for name, sample in part.items()}
        except (TagError, WriteRefused) as error:
            self._writes_failed += 1
            code = ReplyCode(error.code) if isinstance(error, WriteRefused) else ReplyCode.REFUSED
            self._tell(Written(job, problem=str(error), code=code))
            return
        except ConnectorError as error:
            self._writes_failed += 1
            self._tell(Written(job, problem=f"{error}; whether the value arrived is not known", code=ReplyCode.UNSURE))
            raise
        sample = back.get(job.tag.name, Sample(quality=Quality.BAD, reason="not read back"))
        self._writes_done += 1
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
            if self._decisions or self._writes or self._outputs.due_ns <= gave_way_ns:
                self._serve(connector)
                waited_ns += time.monotonic_ns() - gave_way_ns
        scan_ms = (time.monotonic_ns() - scan_ns - waited_ns) / _MS
        group.end(scan_ms)
        if self._alive is not None and self._alive.see(samples, scan_ns):
            raise ConnectorError(self._alive.reason)
        self._tell(self._reading(group, scan_ns, scan_ms, time_ns, self._aged(samples, scan_ns)))
        self._outputs.scanned(connector, samples, scan_ns)

    def _aged(self, samples: dict[str, Sample], scan_ns: int) -> dict[str, Sample]:
        for name, sample in samples.items():
            if sample.quality is Quality.GOOD:
                self._good_ns[name] = scan_ns
            elif sample.quality is Quality.UNCERTAIN:
                samples[name] = structs.replace(sample, age_ms=(scan_ns - self._good_ns[name]) / _MS)
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
        """Publish every tag as Bad, because the link is down."""
        now_ns = time.monotonic_ns()
        self._bad_ns = now_ns + int(BAD_PERIOD_S * 1e9)
        for group in self._groups:
            bad = {tag.name: self._bad(tag.name, f"{LINK_LOST}: {reason}", now_ns) for tag in group.tags}
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
        self._decisions_lost += sum(one.decision.proof is Proof.PART for one in self._decisions)
        self._decisions.clear()
        while self._writes:
            self._writes_failed += 1
            self._tell(Written(self._writes.popleft(), problem=reason, code=ReplyCode.NO_LINK))

    def _connect(self) -> None:
        """Open a new connector, write the fail-safe first, and count the link as up once a scan has succeeded."""
        connector = self._open_connector()
        self._connector = connector
        connector.connect()
        self._see_alive(connector)
        why = "started" if self._links == 0 else "the link to the PLC came back"
        self._outputs.begin(connector, why)
        for group in self._groups:
            group.restart(time.monotonic_ns())
        for group in self._groups:
            self._scan(connector, group)
        self._links += 1
        self._tries = 0
        self._down = False
        self._tell(LinkChange(up=True))

    def _see_alive(self, connector: Connector) -> None:
        """A PLC whose heartbeat stood still is not back before it moves: nothing is written to it until then."""
        alive, began_ns = self._alive, time.monotonic_ns()
        if alive is None:
            return
        alive.restart(began_ns)
        while alive.still and not self._stopping:
            for samples in connector.read([alive.tag]):
                alive.see(samples, time.monotonic_ns())
            if time.monotonic_ns() - began_ns > alive.within_ms * _MS:
                raise ConnectorError(alive.reason)
            self._receive(ALIVE_ASK_S)
            self._give_up_waiting(alive.reason)

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
            self._bad_ns = now_ns  # the try may have read something before it failed
            return
        self._down = True
        self._losses += 1
        self._say_bad(reason)
        self._tell(LinkChange(up=False, reason=reason))
        self._outputs.lost(reason)

    def _finish(self) -> None:
        """The process stops: leave the PLC with the fail-safe."""
        self._give_up_waiting("connect stops")
        if self._connector is None:
            return
        try:
            self._outputs.end(self._connector)
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
        values: dict[str, float] = {
            "links": self._links, "losses": self._losses, "scans": sum(group.scans for group in self._groups),
            "late_scans": sum(group.late_scans for group in self._groups), "decisions_lost": self._decisions_lost,
            "decisions_expired": self._decisions_expired, "decisions_repeated": self._outputs.repeats,
            "acks_missed": self._outputs.acks_missed, "results_dropped": self._outputs.results_dropped,
            "writes": self._writes_done, "writes_failed": self._writes_failed, **asdict(self._outputs.counts),
        }  # fmt: skip
        values |= {f"{name}_manual": float(manual) for name, manual in self._outputs.modes.items()}
        for group in self._groups:
            values[f"{group.name}_scan_ms_max"], values[f"{group.name}_jitter_ms_max"] = group.take_maxima()
        self._tell(Counters(values))


def _follows(later: Decision, decision: Decision) -> bool:
    """Return whether a decision replaces another one's place at the PLC."""
    return later.proof is Proof.PART and later.pipeline == decision.pipeline
