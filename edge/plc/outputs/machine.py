"""From decision to PLC: what is written when, as a state machine without IO. Times are nanoseconds of CLOCK_MONOTONIC.

The lease: only a fresh decision or self-test (of this boot, before its deadline) renews it. While it holds, the
heartbeat advances. When it ends, or the link came back, or the process started, or the PLC left a result without its
answer, or a heartbeat came so late that the PLC's watchdog may have tripped, the fail-safe verdict is written, `armed`
falls, and both stay until the PLC's `rearm` reads true while the lease holds. Each part meanwhile gets the fail-safe
verdict. Anything but a timely OK is the fail-safe verdict, too.

Manual: the operator owns verdict, part and number; nothing writes them but the operator, not even the fail-safe, and
`armed` is false. Back in automatic, and after each connection, it begins with the fail-safe, latched.
This is no SIL/PL safety function.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge.plc.outputs.handshake import Handshake
from edge.plc.outputs.request_bits import Put, RequestBits
from edge.plc.tags.lists import INTEGERS, Tag
from edge.settings import Outputs
from schemas.messages import Decision, Output, Phase, Proof, Verdict

REMEMBERED = 4096  # result ids that are known as carried out
WATCHDOG_BEATS: Final = 5  # heartbeats that may be missing before the PLC's watchdog trips, and never under 500 ms
_MS = 1_000_000
BY_PLC = "the PLC"


@dataclass(frozen=True)
class Applied:
    """A decision on its way to the PLC. `failsafe`: the fail-safe value goes in place of its verdict, for `reason`.

    `manual`: nothing is written for it, the outputs are the operator's.
    """

    decision: Decision
    received_ns: int
    failsafe: bool
    reason: str
    manual: bool = False

    def output(self, acknowledged_ns: int, time_ns: int) -> Output:
        """Return what is told about it once the PLC has acknowledged it."""
        decision = self.decision
        return Output(
            pipeline=decision.pipeline, result_id=decision.result_id, part_id=decision.part_id,
            verdict=decision.verdict, failsafe=self.failsafe, actuate_ms=(acknowledged_ns - self.received_ns) / _MS,
            total_ms=(acknowledged_ns - decision.trigger_ns) / _MS, late=acknowledged_ns > decision.deadline_ns,
            time_ns=time_ns, reason=self.reason, manual=self.manual,
        )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """The fail-safe was latched (`new`) or released (`end`)."""

    phase: Phase
    reason: str


@dataclass(frozen=True)
class Ownership:
    """The outputs have become the operator's (`manual`), or the pipeline's again; `by` whose wish that was."""

    manual: bool
    by: str


@dataclass(frozen=True)
class Step:
    """What follows from one input: writes in their order, then what to tell.

    `applied` is told if all was written; `settled` anyway: the PLC answered it before, or nothing is written for it.
    """

    puts: tuple[Put, ...] = ()
    applied: Applied | None = None
    settled: tuple[Applied, ...] = ()
    changes: tuple[Change, ...] = ()
    owners: tuple[Ownership, ...] = ()


NOTHING = Step()


class OutputsMachine:
    """The outputs of one pipeline. Call `begin` once the link is up and before anything else is written."""

    def __init__(self, outputs: Outputs, boot: str, beat_limit: int = 65_535, number_limit: int = 65_535) -> None:
        """`beat_limit` and `number_limit` are the largest values of the heartbeat's and the result id's tags."""
        self.latched = True
        self.repeats = 0
        self.outputs = self._outputs = outputs
        self._boot = boot
        self._beat_limit = beat_limit
        self._said = False
        self._latched_ns = 0
        self._lease_until_ns: int | None = None
        self._beat = 0
        self._beat_due_ns = 0
        self._beat_put_ns = 0  # the newest heartbeat of this lease, 0 before the first ...
        self._beat_known_ns = 0  # ... and the newest that the PLC has acknowledged for certain
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._owners: set[str] = set()  # who wants manual
        self._valid: bool | None = None  # what stands in `data_valid`
        self._requests = RequestBits(outputs)
        self.handshake: Handshake[Applied, tuple[Decision, int]] = Handshake(
            number_limit, outputs.results_waiting, int(outputs.ack_timeout_ms * _MS)
        )

    @property
    def manual(self) -> bool:
        """Whether the outputs are the operator's."""
        return bool(self._owners)

    @property
    def due_ns(self) -> int | None:
        """When `tick` has something to do, None while nothing is due by itself."""
        beat_ns = self._beat_due_ns if self._outputs.heartbeat and self._lease_until_ns is not None else None
        dues = (self._lease_until_ns, beat_ns, self.handshake.due_ns, self._requests.due_ns)
        return min((due for due in dues if due is not None), default=None)

    # -- the link and the process -------------------------------------------------------------------------------------

    def begin(self, now_ns: int, reason: str) -> Step:
        """The link is up: the first writes are the fail-safe, whoever owned the outputs before."""
        self._lease_until_ns, self._valid = None, None
        owners = self._disown("the new connection")
        self._forget()
        latch = self._latch(now_ns, reason)
        return replace(latch, puts=latch.puts + self._requests.begin(), owners=owners)

    def lost(self, now_ns: int, reason: str) -> Step:
        """The link is down: nothing can be written, the PLC's watchdog acts; tell it."""
        self._lease_until_ns = None
        self._forget()
        return Step(changes=self._latch(now_ns, reason).changes)

    def end(self, now_ns: int) -> Step:
        """The process stops: the lease ends with it."""
        self._lease_until_ns = None
        self._forget()
        return self._latch(now_ns, "connect stops")

    # -- decisions ----------------------------------------------------------------------------------------------------

    def decide(self, decision: Decision, received_ns: int, now_ns: int) -> Step:
        """Carry out a decision, or renew the lease by a self-test."""
        expired = self.tick(now_ns)
        if not self._problem(decision, now_ns):
            self._renew(now_ns)
        released = self._release(now_ns) if not self._outputs.rearm else NOTHING
        if decision.proof is Proof.SELFTEST:
            return _joined(expired, released)
        if self._repeated(decision.result_id):
            self.repeats += 1
            return _joined(expired, released)
        if self.manual:
            return _joined(expired, released, self._leave(decision, received_ns))
        if not self._outputs.result_id:
            return _joined(expired, released, self._apply(decision, received_ns, now_ns))
        self.handshake.wait((decision, received_ns))
        return _joined(expired, released, self._put_next(now_ns))

    def acknowledge(self, number: int, now_ns: int) -> Step:
        """The PLC's `result_ack` as read."""
        if self.manual or not self._outputs.result_id:
            return NOTHING
        was_in_step = self.handshake.in_step
        result = self.handshake.answer(number)
        if not was_in_step and self.handshake.due_ns is None and not self.handshake.in_step:
            return self._put_empty(now_ns)
        released = self._release(now_ns) if not self._outputs.rearm else NOTHING
        if result is None:
            return _joined(released, self._put_next(now_ns))
        bits = self._requests.settle(result.decision.trigger_ns, good=not result.failsafe)
        return _joined(Step(bits, settled=(result,)), released, self._put_next(now_ns))

    def rearm(self, value: bool, scan_ns: int, now_ns: int) -> Step:
        """The PLC's reset as read by a scan that began at `scan_ns`; a value from before the latch does not count."""
        if value and scan_ns >= self._latched_ns:
            return _joined(self.tick(now_ns), self._release(now_ns))
        return NOTHING

    def request(self, value: bool, scan_ns: int, now_ns: int) -> Step:
        """The PLC's question as read by a scan that began at `scan_ns`."""
        return Step(self._requests.read(value, scan_ns, now_ns))

    def own(self, manual: bool, by: str, now_ns: int) -> Step:
        """The operator takes the outputs, or gives them back; manual until everyone has given them back."""
        was = self.manual
        (self._owners.add if manual else self._owners.discard)(by)
        if self.manual is was:
            return NOTHING
        waited = [self._leave(*one) for one in self.handshake.restart()]
        if not manual:
            self._valid = None  # the operator may have written it
        owner = Step(owners=(Ownership(self.manual, by),))
        if manual:
            return _joined(owner, *waited, self._latch(now_ns, f"manual, by {by}"))
        return _joined(owner, self._latch(now_ns, f"automatic again, by {by}"))

    def tick(self, now_ns: int) -> Step:
        """Let the lease expire, give up waiting for the PLC, or advance the heartbeat."""
        bits = Step(self._requests.tick(now_ns))
        return _joined(
            self._expire(now_ns), self._unanswered(now_ns), self._silent(now_ns), self._advance(now_ns), bits
        )

    def _expire(self, now_ns: int) -> Step:
        if self._lease_until_ns is None or now_ns < self._lease_until_ns:
            return NOTHING
        self._lease_until_ns = None
        return self._latch(now_ns, f"no decision or self-test for {self._outputs.lease_ms:g} ms")

    def _unanswered(self, now_ns: int) -> Step:
        standing = self.handshake.standing
        if not self.handshake.overdue(now_ns):
            return NOTHING
        if standing is None:
            return Step(self._empty(self.handshake.put_again(now_ns)))
        waited_ms = self._outputs.ack_timeout_ms
        latch = self._latch(now_ns, f"the PLC has not acknowledged {standing.decision.result_id} for {waited_ms:g} ms")
        return _joined(latch, self._put_empty(now_ns))

    def _silent(self, now_ns: int) -> Step:
        """The PLC may have missed the heartbeat for as long as its watchdog waits: the next one must not arm it."""
        since_ns, self._beat_known_ns = self._beat_known_ns, self._beat_put_ns
        watchdog_ms = plc_watchdog_ms(self._outputs)
        if self.latched or not since_ns or now_ns - since_ns < watchdog_ms * _MS:
            return NOTHING
        return self._latch(now_ns, f"the PLC may have seen no heartbeat for {watchdog_ms:g} ms")

    def _advance(self, now_ns: int) -> Step:
        leased = self._lease_until_ns is not None and self._outputs.heartbeat
        if not leased or now_ns < self._beat_due_ns:
            return NOTHING
        self._beat = self._beat % self._beat_limit + 1
        self._beat_put_ns = now_ns
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

    def _apply(self, decision: Decision, received_ns: int, now_ns: int) -> Step:
        """Put one result, with its number last where results have one."""
        problem = self._problem(decision, now_ns)
        if not problem and self.latched:
            problem = "fail-safe is latched"
        if not problem and self._outputs.part and decision.part_id is None:
            problem = "no part id"
        if not problem and decision.verdict is Verdict.UNKNOWN:
            problem = decision.reason or "verdict unknown"
        passes = not problem and decision.verdict is Verdict.OK
        applied = Applied(decision, received_ns, bool(problem), problem or decision.reason)
        puts = (Put(self._outputs.verdict, self._outputs.failsafe is not passes), *self._validity(not problem))
        if self._outputs.part and decision.part_id is not None:
            puts += (Put(self._outputs.part, decision.part_id),)
        if self._outputs.result_id:
            return Step((*puts, Put(self._outputs.result_id, self.handshake.put(applied, now_ns))))
        return Step(puts + self._requests.settle(decision.trigger_ns, good=not problem), applied)

    def _put_next(self, now_ns: int) -> Step:
        waiting = self.handshake.next()
        return self._apply(*waiting, now_ns) if waiting is not None else NOTHING

    def _put_empty(self, now_ns: int) -> Step:
        number = self.handshake.put_empty(now_ns)
        return Step(self._empty(number)) if number is not None else NOTHING

    def _empty(self, number: int) -> tuple[Put, ...]:
        """A result about no part: it rejects, should the PLC take it for one."""
        puts = [Put(self._outputs.verdict, self._outputs.failsafe), *self._validity(False)]
        puts += [Put(self._outputs.part, 0)] if self._outputs.part else []
        return (*puts, Put(self._outputs.result_id, number))

    def _validity(self, valid: bool) -> tuple[Put, ...]:
        if not self._outputs.data_valid or self._valid is valid:
            return ()
        self._valid = valid
        return (Put(self._outputs.data_valid, valid),)

    def _leave(self, decision: Decision, received_ns: int) -> Step:
        """Nothing is written for a decision: the outputs are the operator's."""
        bits = self._requests.settle(decision.trigger_ns, good=False)
        return Step(bits, settled=(Applied(decision, received_ns, False, "manual", manual=True),))

    def _forget(self) -> None:
        self.handshake.dropped += len(self.handshake.restart())

    def _disown(self, by: str) -> tuple[Ownership, ...]:
        was, self._owners = self.manual, set()
        return (Ownership(False, by),) if was else ()

    def _renew(self, now_ns: int) -> None:
        if self._lease_until_ns is None:
            self._beat_due_ns = now_ns
            self._beat_put_ns = self._beat_known_ns = 0
        self._lease_until_ns = now_ns + int(self._outputs.lease_ms * _MS)

    def _latch(self, now_ns: int, reason: str) -> Step:
        changes = () if self.latched and self._said else (Change(Phase.NEW, reason),)
        self.latched, self._said, self._latched_ns = True, True, now_ns
        if (standing := self.handshake.standing) is not None:
            self.handshake.overwrite(replace(standing, failsafe=True, reason=reason))
        puts: tuple[Put, ...] = () if self.manual else (Put(self._outputs.verdict, self._outputs.failsafe),)
        puts += self._validity(False)
        if self._outputs.armed:
            puts += (Put(self._outputs.armed, False),)
        return Step(puts, changes=changes)

    def _release(self, now_ns: int) -> Step:
        leased = self._lease_until_ns is not None and now_ns < self._lease_until_ns
        in_step = self.handshake.in_step or not self._outputs.result_id
        if not self.latched or self.manual or not leased or not in_step:
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
    return Step(
        tuple(put for step in steps for put in step.puts), applied[-1] if applied else None,
        tuple(one for step in steps for one in step.settled), tuple(one for step in steps for one in step.changes),
        tuple(one for step in steps for one in step.owners),
    )  # fmt: skip


def plc_watchdog_ms(outputs: Outputs) -> float:
    """Return for how long the heartbeat may stand still before the PLC's program rejects by itself."""
    return max(500.0, WATCHDOG_BEATS * outputs.heartbeat_ms)


def machine_of(outputs: Outputs, tags: Mapping[str, Tag], boot: str) -> OutputsMachine:
    """Return the machine of outputs whose tags `output_problems` found right."""
    beat, number = tags.get(outputs.heartbeat), tags.get(outputs.result_id)
    return OutputsMachine(
        outputs, boot, INTEGERS[beat.type][1] if beat is not None else 1,
        INTEGERS[number.type][1] if number is not None else 65_535,
    )  # fmt: skip
