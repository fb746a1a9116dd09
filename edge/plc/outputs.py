"""From decision to PLC: what is written when, as a state machine without IO. Times are nanoseconds of CLOCK_MONOTONIC.

The lease: only a fresh decision or self-test (of this boot, before its deadline) renews it. While it holds, the
heartbeat advances. When it ends, or the link came back, or the process started, the fail-safe verdict is written,
`armed` falls, and both stay until the PLC's `rearm` reads true while the lease holds. Each part meanwhile gets the
fail-safe verdict. Anything but a timely OK is the fail-safe verdict, too. This is no SIL/PL safety function.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from edge.plc.tags import INTEGERS, Tag
from edge.settings import Outputs
from schemas.messages import Decision, Output, Phase, Proof, Verdict

REMEMBERED = 4096  # result ids that are known as carried out
_MS = 1_000_000


@dataclass(frozen=True)
class Put:
    """One write to one tag."""

    tag: str
    value: bool | int


@dataclass(frozen=True)
class Applied:
    """A decision on its way to the PLC. `failsafe`: the fail-safe value goes in place of its verdict, for `reason`."""

    decision: Decision
    received_ns: int
    failsafe: bool
    reason: str

    def output(self, acknowledged_ns: int, time_ns: int) -> Output:
        """Return what is told about it once the PLC has acknowledged both writes."""
        decision = self.decision
        return Output(
            pipeline=decision.pipeline, result_id=decision.result_id, part_id=decision.part_id,
            verdict=decision.verdict, failsafe=self.failsafe, actuate_ms=(acknowledged_ns - self.received_ns) / _MS,
            total_ms=(acknowledged_ns - decision.trigger_ns) / _MS, late=acknowledged_ns > decision.deadline_ns,
            time_ns=time_ns, reason=self.reason,
        )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """The fail-safe was latched (`new`) or released (`end`)."""

    phase: Phase
    reason: str


@dataclass(frozen=True)
class Step:
    """What follows from one input: writes in their order, then what to tell."""

    puts: tuple[Put, ...] = ()
    applied: Applied | None = None
    changes: tuple[Change, ...] = ()


NOTHING = Step()


class OutputsMachine:
    """The outputs of one pipeline. Call `begin` once the link is up and before anything else is written."""

    def __init__(self, outputs: Outputs, boot: str, beat_limit: int = 65_535) -> None:
        """`beat_limit` is the largest value of the heartbeat's tag."""
        self.latched = True
        self.repeats = 0
        self._outputs = outputs
        self._boot = boot
        self._beat_limit = beat_limit
        self._said = False
        self._latched_ns = 0
        self._lease_until_ns: int | None = None
        self._beat = 0
        self._beat_due_ns = 0
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def due_ns(self) -> int | None:
        """When `tick` has something to do, None while nothing is due by itself."""
        if self._lease_until_ns is None:
            return None
        return min(self._lease_until_ns, self._beat_due_ns) if self._outputs.heartbeat else self._lease_until_ns

    def begin(self, now_ns: int, reason: str) -> Step:
        """The link is up: the first writes are the fail-safe."""
        self._lease_until_ns = None
        return self._latch(now_ns, reason)

    def lost(self, now_ns: int, reason: str) -> Step:
        """The link is down: nothing can be written, the PLC's watchdog acts; tell it."""
        self._lease_until_ns = None
        return Step(changes=self._latch(now_ns, reason).changes)

    def end(self, now_ns: int) -> Step:
        """The process stops: the lease ends with it."""
        self._lease_until_ns = None
        return self._latch(now_ns, "connect stops")

    def decide(self, decision: Decision, received_ns: int, now_ns: int) -> Step:
        """Carry out a decision, or renew the lease by a self-test."""
        expired = self.tick(now_ns)
        problem = self._problem(decision, now_ns)
        if not problem:
            self._renew(now_ns)
        released = self._release(now_ns) if not self._outputs.rearm else NOTHING
        if decision.proof is Proof.SELFTEST:
            return _joined(expired, released)
        if self._repeated(decision.result_id):
            self.repeats += 1
            return _joined(expired, released)
        return _joined(expired, released, self._apply(decision, received_ns, problem))

    def rearm(self, value: bool, scan_ns: int, now_ns: int) -> Step:
        """The PLC's reset as read by a scan that began at `scan_ns`; a value from before the latch does not count."""
        if value and scan_ns >= self._latched_ns:
            return _joined(self.tick(now_ns), self._release(now_ns))
        return NOTHING

    def tick(self, now_ns: int) -> Step:
        """Let the lease expire, or advance the heartbeat."""
        if self._lease_until_ns is None:
            return NOTHING
        if now_ns >= self._lease_until_ns:
            self._lease_until_ns = None
            return self._latch(now_ns, f"no decision or self-test for {self._outputs.lease_ms:g} ms")
        if not self._outputs.heartbeat or now_ns < self._beat_due_ns:
            return NOTHING
        self._beat = self._beat % self._beat_limit + 1
        self._beat_due_ns += self._beat_period_ns
        if self._beat_due_ns <= now_ns:
            self._beat_due_ns = now_ns + self._beat_period_ns
        return Step((Put(self._outputs.heartbeat, self._beat),))

    @property
    def _beat_period_ns(self) -> int:
        return int(self._outputs.heartbeat_ms * _MS)

    def _problem(self, decision: Decision, now_ns: int) -> str:
        """Why a decision is not fresh, "" if it is."""
        if decision.boot != self._boot:
            return "decided before this boot"
        if now_ns > decision.deadline_ns:
            return f"deadline passed {(now_ns - decision.deadline_ns) / _MS:.1f} ms before"
        return ""

    def _apply(self, decision: Decision, received_ns: int, problem: str) -> Step:
        if not problem and self.latched:
            problem = "fail-safe is latched"
        if not problem and self._outputs.part and decision.part_id is None:
            problem = "no part id"
        if not problem and decision.verdict is Verdict.UNKNOWN:
            problem = decision.reason or "verdict unknown"
        passes = not problem and decision.verdict is Verdict.OK
        puts = [Put(self._outputs.verdict, self._outputs.failsafe is not passes)]
        if self._outputs.part and decision.part_id is not None:
            puts.append(Put(self._outputs.part, decision.part_id))
        return Step(tuple(puts), Applied(decision, received_ns, bool(problem), problem or decision.reason))

    def _renew(self, now_ns: int) -> None:
        if self._lease_until_ns is None:
            self._beat_due_ns = now_ns
        self._lease_until_ns = now_ns + int(self._outputs.lease_ms * _MS)

    def _latch(self, now_ns: int, reason: str) -> Step:
        changes = () if self.latched and self._said else (Change(Phase.NEW, reason),)
        self.latched, self._said, self._latched_ns = True, True, now_ns
        puts = [Put(self._outputs.verdict, self._outputs.failsafe)]
        if self._outputs.armed:
            puts.append(Put(self._outputs.armed, False))
        return Step(tuple(puts), changes=changes)

    def _release(self, now_ns: int) -> Step:
        if not self.latched or self._lease_until_ns is None or now_ns >= self._lease_until_ns:
            return NOTHING
        self.latched = False
        puts = (Put(self._outputs.armed, True),) if self._outputs.armed else ()
        reason = "re-armed by the PLC" if self._outputs.rearm else "lease holds"
        return Step(puts, changes=(Change(Phase.END, reason),))

    def _repeated(self, result_id: str) -> bool:
        if result_id in self._seen:
            return True
        self._seen[result_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False


def _joined(*steps: Step) -> Step:
    """One step after the other as one; at most one of them applies a decision."""
    applied = [step.applied for step in steps if step.applied is not None]
    changes = tuple(change for step in steps for change in step.changes)
    puts = tuple(put for step in steps for put in step.puts)
    return Step(puts, applied[-1] if applied else None, changes)


def machine_of(outputs: Outputs, tags: Mapping[str, Tag], boot: str) -> OutputsMachine:
    """Return the machine of outputs whose tags `output_problems` found right."""
    beat = tags.get(outputs.heartbeat)
    return OutputsMachine(outputs, boot, INTEGERS[beat.type][1] if beat is not None else 1)
