"""connect@SOURCE: speaks to one PLC. In: decision, write. Out: raw, output, reply, event, status.

It alone writes the PLC's outputs, under a lease (`edge/plc/outputs/machine.py`); `edge/plc/source.py` holds the link,
in a thread of its own, so that neither the broker nor this loop can stop the fail-safe. What others may write, rules
`edge/plc/outputs/write_rules.py`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bus import Delivery
from bus.codec import encode
from bus.typed import Publisher
from edge.connectors import Opener, load_driver
from edge.plc.alive import alive_of, alive_problems
from edge.plc.gauges import SourceGauges
from edge.plc.outputs.machine import machine_of
from edge.plc.outputs.table import manual_tags, output_problems, own_tags, read_tags
from edge.plc.outputs.tag_failsafes import TagFailsafes
from edge.plc.outputs.write_rules import WriteGate, answer, mode_tag, refusal, reply_is_allowed
from edge.plc.poll import poll_groups
from edge.plc.source import SourceLink
from edge.plc.tags.lists import Tag, load_tags
from edge.plc.told import (
    Counters,
    Decided,
    FailsafeChange,
    LinkChange,
    OutputRefused,
    OwnerChange,
    TagsFailsafe,
    Tell,
    Told,
    WriteJob,
    Written,
)  # fmt: skip
from edge.process import Process
from edge.settings import Source
from schemas.errors import CodecError, ConnectorError, SettingsError, WriteRefused
from schemas.messages import Decision, Output, Phase, Reading, Reply, Severity, State, Write
from schemas.topics import DECISION, OUTPUT, READING, REPLY, WRITE

log = logging.getLogger(__name__)
SWITCH_S = 0.001  # loop and thread give way to each other this soon; Python's 5 ms would show in the outputs
SUPERVISE_S = 0.5
NOT_YET = "not connected yet"
HANGS_AFTER_S = 5.0  # and never before several timeouts of the link


class Reporter:
    """Turns what the link tells into messages, events and the process's state; on the loop."""

    def __init__(self, process: Process, pipelines: list[str]) -> None:
        """Publish nothing yet."""
        self._process = process
        self._readings = process.publisher(READING, Reading, source=process.instance)
        self._outputs: dict[str, Publisher[Output]] = {
            name: process.publisher(OUTPUT, Output, pipeline=name) for name in pipelines
        }
        periods_ms = process.settings.sources[process.instance].groups
        self._gauges = SourceGauges(process.metrics, process.instance, periods_ms, pipelines)
        self.stopping = False
        self._down = NOT_YET
        self._latched = dict.fromkeys(pipelines, "started")
        self._refused: dict[tuple[str, str], str] = {}

    def take(self, told: Told) -> None:
        """Publish one thing that the link told, except a write's outcome."""
        self._gauges.take(told)
        match told:
            case Reading():
                self._readings.send(told)
            case Output():
                self._outputs[told.pipeline].send(told)
            case Counters():
                self._process.counters.update(told.values)
            case LinkChange():
                self._link(told)
            case FailsafeChange():
                self._failsafe(told)
            case OwnerChange():
                self._owner(told)
            case OutputRefused():
                self._output_refused(told)
            case TagsFailsafe():
                self._tags_failsafe(told)
            case Written():
                raise TypeError("the write path settles writes")

    def _link(self, told: LinkChange) -> None:
        source = self._process.instance
        if told.up and not self._down:
            return
        if told.up:
            first, self._down = self._down == NOT_YET, ""
            if not first:
                self._process.event("plc_lost", Phase.END, Severity.ALARM, f"{source}: the link is back", source=source)
        else:
            self._down = told.reason
            self._process.event(
                "plc_lost", Phase.NEW, Severity.ALARM, f"{source}: {told.reason}", source=source, reason=told.reason
            )
        self._report()

    def _failsafe(self, told: FailsafeChange) -> None:
        phase, reason, pipeline = told.change.phase, told.change.reason, told.pipeline
        if phase is Phase.NEW:
            self._latched[pipeline] = reason
        else:
            self._latched.pop(pipeline, None)
        text = f"{pipeline}: fail-safe {'latched' if phase is Phase.NEW else 'released'}: {reason}"
        self._process.event(
            "failsafe", phase, Severity.ALARM, text, key=f"{self._process.identity}-failsafe-{pipeline}",
            pipeline=pipeline, reason=reason,
        )  # fmt: skip
        self._report()

    def _owner(self, told: OwnerChange) -> None:
        pipeline, by = told.pipeline, told.owner.by
        phase, text = (Phase.NEW, "manual") if told.owner.manual else (Phase.END, "automatic again")
        self._process.event(
            "outputs_manual", phase, Severity.WARNING, f"{pipeline}: the outputs are {text}, by {by}",
            key=f"{self._process.identity}-outputs_manual-{pipeline}", pipeline=pipeline, by=by,
        )  # fmt: skip

    def _output_refused(self, told: OutputRefused) -> None:
        if told.problem:
            self._refused[told.pipeline, told.tag] = told.problem
        else:
            self._refused.pop((told.pipeline, told.tag), None)
        self._process.event(
            "output_refused", Phase.NEW if told.problem else Phase.END, Severity.ALARM,
            f"{told.pipeline}: {told.problem or f'the PLC takes {told.tag} again'}",
            key=f"{self._process.identity}-output_refused-{told.pipeline}-{told.tag}",
            pipeline=told.pipeline, tag=told.tag, reason=told.problem,
        )  # fmt: skip
        self._report()

    def _tags_failsafe(self, told: TagsFailsafe) -> None:
        source = self._process.instance
        if told.tags:
            text = f"{source}: {', '.join(told.tags)}: fail-safe value written: {told.reason}"
            self._process.event(
                "tag_failsafe", Phase.NEW, Severity.WARNING, text[:1000], source=source, reason=told.reason
            )
        for tag, problem in told.refused.items():
            text = f"{source}: {tag}: its fail-safe value was refused ({told.reason}): {problem}"
            self._process.event(
                "tag_failsafe_refused", Phase.NEW, Severity.ALARM, text[:1000],
                key=f"{self._process.identity}-tag_failsafe_refused-{tag}", source=source, tag=tag,
                reason=problem[:500],
            )  # fmt: skip

    def _report(self) -> None:
        if self.stopping or self._down == NOT_YET:
            return
        if self._down:
            self._process.report(State.DEGRADED, self._down)
        elif self._refused:
            self._process.report(State.DEGRADED, "; ".join(self._refused.values()))
        elif self._latched:
            self._process.report(State.DEGRADED, "; ".join(f"{k}: fail-safe: {v}" for k, v in self._latched.items()))
        else:
            self._process.report(State.ACTIVE)


class WritePath:
    """Requests to write tags: admitted by the gate, carried out by the link, answered and audited here."""

    def __init__(self, process: Process, gate: WriteGate, link: SourceLink) -> None:
        """Read nothing yet."""
        self._process = process
        self._gate = gate
        self._link = link
        self._epoch, self._seq = time.time_ns(), 0
        self._waiting: dict[tuple[str, str], list[tuple[str, bytes]]] = {}

    def request(self, write: Write, delivery: Delivery) -> None:
        """Take one request from the bus."""
        origin = (WRITE.parse(delivery.topic) or {}).get("origin", "")
        reply_to = delivery.response_topic
        if reply_to and not reply_is_allowed(reply_to, self._process.place, origin):
            self._audit(origin, write, refusal(write.request_id, "the response topic is not the requester's own"))
            return
        back = (reply_to, bytes(delivery.correlation))
        try:
            admitted = self._gate.admit(origin, write)
        except WriteRefused as refused:
            reply = refusal(write.request_id, str(refused), refused.code)
            self._audit(origin, write, reply)
            self._send(reply, back)
            return
        if isinstance(admitted, Reply):
            self._send(admitted, back)
            return
        self._waiting.setdefault((origin, write.request_id), []).append(back)
        if admitted is not None:
            key = (origin, write.request_id)
            self._link.submit(WriteJob(key, admitted.tag, admitted.value, admitted.note, write.on_behalf))

    def unread(self, error: CodecError, delivery: Delivery) -> None:
        """Answer a request that can't be read: whoever asked waits for a word."""
        origin, reply_to = (WRITE.parse(delivery.topic) or {}).get("origin", ""), delivery.response_topic
        if reply_to and reply_is_allowed(reply_to, self._process.place, origin):
            reply = refusal("", f"the request can't be read: {error}")
            self._send(reply, (reply_to, bytes(delivery.correlation)))

    def settle(self, written: Written) -> None:
        """Answer a request that the link has carried out, or could not."""
        job = written.job
        origin, request_id = job.key
        reply = answer(request_id, job.tag, job.value, written.value, written.problem, job.note, written.code)
        self._gate.settle(job.key, reply)
        write = Write(request_id=request_id, tag=job.tag.name, value=job.value, on_behalf=job.on_behalf)
        self._audit(origin, write, reply)
        for back in self._waiting.pop(job.key, []):
            self._send(reply, back)

    def _send(self, reply: Reply, back: tuple[str, bytes]) -> None:
        reply_to, correlation = back
        if not reply_to:
            return
        self._seq += 1
        stamped = Reply(
            epoch=self._epoch, seq=self._seq, request_id=reply.request_id, ok=reply.ok, value=reply.value,
            reason=reply.reason[:1000], code=reply.code,
        )  # fmt: skip
        self._process.bus.publish(reply_to, encode(REPLY, stamped), qos=REPLY.qos, correlation=correlation)

    def _audit(self, origin: str, write: Write, reply: Reply) -> None:
        code, severity = ("write_done", Severity.INFO) if reply.ok else ("write_refused", Severity.WARNING)
        request_id, tag, value = write.request_id[:64], write.tag[:128], str(write.value)[:128]
        person = write.on_behalf[:64]
        who = f"{origin} for {person}" if person else origin
        text = f"{who} wrote {tag} = {value}" if reply.ok else f"{who} did not write {tag} = {value}: {reply.reason}"
        self._process.event(
            code, Phase.NEW, severity, text[:1000], key=f"{self._process.identity}-{origin}-{request_id}",
            source=self._process.instance, origin=origin, request_id=request_id, tag=tag, value=value,
            reason=reply.reason[:500], on_behalf=person,
        )  # fmt: skip


async def main(process: Process) -> None:
    """Run connect for one source until cancelled."""
    sys.setswitchinterval(SWITCH_S)
    source, tags = load_source(process)
    outputs = {name: one for name, one in process.settings.outputs.items() if one.source == process.instance}
    if problems := alive_problems(source, tags) + output_problems(outputs, tags):
        raise SettingsError([f"{process.home / source.tags}: {problem}" for problem in problems])
    loop = asyncio.get_running_loop()
    reporter = Reporter(process, list(outputs))
    driver = load_driver(source.driver)
    reserved = {name for one in outputs.values() for name in own_tags(one)}
    operators = {name for one in outputs.values() for name in manual_tags(one)}
    tell: Tell = lambda told: _hand_over(loop, told, take)  # noqa: E731 - `take` needs the link
    failsafes = TagFailsafes((tag for tag in tags.values() if tag.name not in reserved), tell)
    link = SourceLink(
        process.instance,
        poll_groups(source.groups, tags),
        tags,
        {name: machine_of(one, tags, process.boot) for name, one in outputs.items()},
        {name: read_tags(one) for name, one in outputs.items()},
        Opener(driver, source, list(tags.values())).open,
        tell,
        process.boot,
        failsafes,
        alive_of(source, tags),
    )
    writable = tags | {tag.name: tag for tag in map(mode_tag, outputs)}
    writes = WritePath(process, WriteGate(writable, reserved - operators), link)

    def take(told: Told) -> None:
        if isinstance(told, Written):
            writes.settle(told)
        else:
            reporter.take(told)

    await process.read(WRITE, Write, writes.request, unread=writes.unread, source=process.instance)
    for name in outputs:
        await process.read(DECISION, Decision, _to_link(link, name), pipeline=name)
    gc.collect()
    gc.freeze()  # modules and plans stay: a collection that looks through them would hold up a scan
    link.start()
    try:
        await _supervise(process, link, failsafes, max(HANGS_AFTER_S, 20 * source.timeout_ms / 1e3))
    finally:
        gc.unfreeze()  # where settings have changed, another main follows here
        reporter.stopping = True
        stopped = link.stop(timeout_s=min(process.row.stop_s / 2, 2.0))
        if not stopped:
            log.warning("%s: the driver hangs; the PLC's watchdog has to act", process.instance)


def load_source(process: Process) -> tuple[Source, dict[str, Tag]]:
    """Return the source of this process and its tags.

    Raises:
        SettingsError: no such source, or problems in its tag list or options.
    """
    sources = process.settings.sources
    if process.instance not in sources:
        raise SettingsError(
            [f"sources.{process.instance} is not in the settings; there are {', '.join(sources) or 'none'}"]
        )
    source = _at_home(sources[process.instance], process.home)
    driver = load_driver(source.driver)
    tags = load_tags(process.home / source.tags, source.groups, driver.check_address)
    driver.open_connector(source).close()  # reports wrong options now, not at the first connection
    if not source.groups:
        raise SettingsError([f"sources.{process.instance}.groups is empty; name a poll group and its period"])
    rate_hz = sum(1e3 / period_ms for period_ms in source.groups.values())
    if rate_hz > READING.max_hz:
        problem = f"{rate_hz:.0f} scans/s; at most {READING.max_hz:g} are published, poll slower"
        raise SettingsError([f"sources.{process.instance}.groups: {problem}"])
    return source, tags


def _at_home(source: Source, home: Path) -> Source:
    """Return a source whose files (options that end in `_file`) are found from anywhere."""
    files = {name: str(home / str(path)) for name, path in source.options.items() if name.endswith("_file") and path}
    return source.model_copy(update={"options": source.options | files}) if files else source


def _to_link(link: SourceLink, pipeline: str) -> Callable[[Decision, Delivery], None]:
    """Return a handler for one pipeline's decisions; one that names another pipeline than its topic is dropped."""

    def take(decision: Decision, delivery: Delivery) -> None:
        if decision.pipeline == pipeline:
            link.submit(Decided(decision, delivery.received_ns))

    return take


def _hand_over(loop: asyncio.AbstractEventLoop, told: Told, take: Tell) -> None:
    try:
        loop.call_soon_threadsafe(take, told)
    except RuntimeError:  # the loop has ended: nobody listens any more
        log.debug("told after the end: %r", type(told))


async def _supervise(process: Process, link: SourceLink, failsafes: TagFailsafes, hangs_after_s: float) -> None:
    """Watch that the thread moves; a driver that never returns ends the process, and with it the lease."""
    name = process.instance
    while True:
        if process.bus.connected:
            failsafes.vouch()
        await asyncio.sleep(SUPERVISE_S)
        if not link.alive:
            raise ConnectorError(f"{name}: the link's thread ended; its traceback is above")
        still_s = (time.monotonic_ns() - link.progress_ns) / 1e9
        if still_s > hangs_after_s:
            raise ConnectorError(f"{name}: the driver has not returned for {still_s:.1f} s; restarting it")
