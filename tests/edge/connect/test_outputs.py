"""The outputs' state machine: no reading of its code replaces these promises."""

from typing import Any

import pytest

from edge.plc.outputs.machine import NOTHING, OutputsMachine, Step, machine_of
from edge.plc.outputs.table import output_problems, own_tags
from edge.plc.tags.lists import Access, Tag
from edge.settings import Outputs
from schemas.messages import Decision, Phase, Proof, Verdict

BOOT = "b00t"
MS = 1_000_000
OUTPUTS = Outputs(
    source="plant", verdict="reject", part="part", armed="armed", rearm="rearm", heartbeat="beat",
    heartbeat_ms=100, lease_ms=500,
)  # fmt: skip


def decision(
    at_ns: int,
    verdict: Verdict = Verdict.OK,
    part_id: int | None = 1,
    name: str = "",
    budget_ms: float = 50,
    **fields: Any,
) -> Decision:
    values: dict[str, Any] = {
        "pipeline": "caps", "result_id": name or f"caps-{at_ns}-{part_id}", "part_id": part_id, "verdict": verdict,
        "proof": Proof.PART, "boot": BOOT, "trigger_ns": at_ns - 10 * MS, "deadline_ns": at_ns + int(budget_ms * MS),
    }  # fmt: skip
    return Decision(**(values | fields))


def selftest(at_ns: int, **fields: Any) -> Decision:
    return decision(at_ns, part_id=None, proof=Proof.SELFTEST, **fields)


def armed(outputs: Outputs = OUTPUTS) -> OutputsMachine:
    """A machine at 1 s that the PLC has armed; its lease ends at 1.5 s."""
    machine = OutputsMachine(outputs, BOOT)
    machine.begin(0, "started")
    machine.decide(selftest(1000 * MS), 1000 * MS, 1000 * MS)
    machine.rearm(True, 1000 * MS, 1000 * MS)
    assert not machine.latched
    return machine


def puts(step: Step) -> list[tuple[str, bool | int]]:
    return [(put.tag, put.value) for put in step.puts]


def test_the_first_writes_are_the_fail_safe_and_it_is_told() -> None:
    step = OutputsMachine(OUTPUTS, BOOT).begin(0, "started")
    assert puts(step) == [("reject", True), ("armed", False)]
    assert [(change.phase, change.reason) for change in step.changes] == [(Phase.NEW, "started")]


def test_nothing_is_due_before_a_decision_came() -> None:
    machine = OutputsMachine(OUTPUTS, BOOT)
    machine.begin(0, "started")
    assert machine.due_ns is None
    assert machine.tick(10**12) == NOTHING


@pytest.mark.parametrize(("verdict", "value", "failsafe"), [
    (Verdict.OK, False, False), (Verdict.NOK, True, False), (Verdict.UNKNOWN, True, True),
])  # fmt: skip
def test_the_verdict_is_written_before_the_part_id(verdict: Verdict, value: bool, failsafe: bool) -> None:
    step = armed().decide(decision(1010 * MS, verdict, 7), 1010 * MS, 1011 * MS)
    assert puts(step)[-2:] == [("reject", value), ("part", 7)]
    assert step.applied is not None and step.applied.failsafe is failsafe


def test_an_inverted_output_fails_safe_to_false() -> None:
    machine = armed(OUTPUTS.model_copy(update={"failsafe": False}))
    passed = machine.decide(decision(1010 * MS, Verdict.OK), 1010 * MS, 1010 * MS)
    assert puts(passed)[-2:] == [("reject", True), ("part", 1)]
    rejected = machine.decide(decision(1020 * MS, Verdict.NOK), 1020 * MS, 1020 * MS)
    assert puts(rejected)[-2:] == [("reject", False), ("part", 1)]
    assert ("reject", False) in puts(machine.end(1030 * MS))


def test_while_latched_every_part_gets_the_fail_safe_verdict() -> None:
    machine = OutputsMachine(OUTPUTS, BOOT)
    machine.begin(0, "started")
    step = machine.decide(decision(10 * MS, Verdict.OK, 3), 10 * MS, 10 * MS)
    assert puts(step) == [("reject", True), ("part", 3)]
    assert step.applied is not None
    assert (step.applied.failsafe, step.applied.reason) == (True, "fail-safe is latched")


def test_a_decision_after_its_deadline_writes_the_fail_safe_and_renews_nothing() -> None:
    machine = armed()
    step = machine.decide(decision(1100 * MS, Verdict.OK, 4, budget_ms=-1), 1100 * MS, 1101 * MS)
    assert puts(step)[-2:] == [("reject", True), ("part", 4)]
    assert step.applied is not None and step.applied.failsafe and "deadline passed 2.0 ms" in step.applied.reason
    assert machine.tick(1500 * MS).changes[0].phase is Phase.NEW, "the lease of 1.0 s ended at 1.5 s"


def test_a_decision_of_another_boot_is_not_fresh() -> None:
    machine = armed()
    step = machine.decide(decision(1100 * MS, Verdict.OK, 4, boot="other"), 1100 * MS, 1100 * MS)
    assert step.applied is not None and step.applied.failsafe and "boot" in step.applied.reason
    assert machine.tick(1500 * MS).changes


def test_an_ok_without_a_part_id_passes_nobody() -> None:
    step = armed().decide(decision(1010 * MS, Verdict.OK, None), 1010 * MS, 1010 * MS)
    assert puts(step)[-1:] == [("reject", True)]
    assert step.applied is not None and step.applied.reason == "no part id"


def test_without_a_part_tag_the_verdict_alone_is_written() -> None:
    machine = armed(OUTPUTS.model_copy(update={"part": ""}))
    assert puts(machine.decide(decision(1010 * MS, Verdict.OK, None), 1010 * MS, 1010 * MS))[-1:] == [("reject", False)]


def test_a_repeated_decision_is_written_once() -> None:
    machine = armed()
    one = decision(1010 * MS, Verdict.OK, 5)
    assert machine.decide(one, 1010 * MS, 1010 * MS).applied is not None
    assert machine.decide(one, 1011 * MS, 1011 * MS).applied is None
    assert machine.repeats == 1


def test_the_lease_ends_without_decisions_and_stays_ended() -> None:
    machine = armed()
    assert machine.tick(1499 * MS).changes == ()
    step = machine.tick(1500 * MS)
    assert puts(step) == [("reject", True), ("armed", False)]
    assert step.changes[0].reason == "no decision or self-test for 500 ms"
    assert machine.latched and machine.tick(9999 * MS) == NOTHING


def test_a_decision_after_the_lease_ended_finds_it_latched_first() -> None:
    step = armed().decide(decision(1600 * MS, Verdict.OK, 9), 1600 * MS, 1600 * MS)
    assert puts(step) == [("reject", True), ("armed", False), ("reject", True), ("part", 9)]
    assert step.changes[0].phase is Phase.NEW


def test_the_heartbeat_advances_while_the_lease_holds_latched_or_not() -> None:
    machine = OutputsMachine(OUTPUTS, BOOT)
    machine.begin(0, "started")
    machine.decide(selftest(0), 0, 0)
    beats = [puts(machine.tick(at * MS)) for at in range(0, 700, 50)]
    assert beats[:5] == [[("beat", 1)], [], [("beat", 2)], [], [("beat", 3)]]
    assert [("beat", 5)] in beats and all(beat == [] for beat in beats[11:]), "silent once the lease has ended"


def test_a_heartbeat_that_may_have_come_after_the_plcs_watchdog_is_latched_first() -> None:
    machine = armed(OUTPUTS.model_copy(update={"lease_ms": 5000.0}))
    assert machine.tick(1010 * MS) == NOTHING, "armed and its first heartbeat put at 1000"
    step = machine.tick(1500 * MS)
    assert puts(step) == [("reject", True), ("armed", False), ("beat", 2)]
    assert step.changes[0].reason == "the PLC may have seen no heartbeat for 500 ms"
    assert machine.rearm(True, 1510 * MS, 1510 * MS).changes[-1].phase is Phase.END, "the lease holds"


def test_a_heartbeat_whose_write_took_long_counts_from_the_one_before_to_its_acknowledgement() -> None:
    machine = armed(OUTPUTS.model_copy(update={"lease_ms": 5000.0}))
    assert puts(machine.tick(1100 * MS)) == [("beat", 2)]
    assert machine.tick(1490 * MS).changes == (), "acknowledged by then, 490 after the one before was put"
    assert machine.tick(1600 * MS).changes[0].phase is Phase.NEW, "500"


def test_the_heartbeat_turns_over_within_its_tag() -> None:
    machine = OutputsMachine(OUTPUTS, BOOT, beat_limit=3)
    machine.begin(0, "started")
    seen = []
    for at in range(0, 800, 100):
        machine.decide(selftest(at * MS), at * MS, at * MS)
        seen += [value for tag, value in puts(machine.tick(at * MS)) if tag == "beat"]
    # decide carries out what is due too: only growing by one, never over the limit
    assert set(seen) <= {1, 2, 3}


def test_re_arming_needs_the_lease_and_a_value_read_after_the_latch() -> None:
    machine = OutputsMachine(OUTPUTS, BOOT)
    machine.begin(100 * MS, "started")
    assert machine.rearm(True, 200 * MS, 200 * MS) == NOTHING, "no lease"
    machine.decide(selftest(300 * MS), 300 * MS, 300 * MS)
    assert machine.rearm(True, 50 * MS, 310 * MS) == NOTHING, "read before the latch"
    assert machine.rearm(False, 320 * MS, 320 * MS) == NOTHING
    step = machine.rearm(True, 330 * MS, 330 * MS)
    assert ("armed", True) in puts(step)
    assert step.changes[-1].phase is Phase.END and not machine.latched
    assert machine.rearm(True, 340 * MS, 340 * MS).changes == (), "armed already"


def test_without_a_rearm_tag_the_lease_alone_releases() -> None:
    machine = OutputsMachine(OUTPUTS.model_copy(update={"rearm": ""}), BOOT)
    machine.begin(0, "started")
    step = machine.decide(decision(10 * MS, Verdict.OK, 1), 10 * MS, 10 * MS)
    assert puts(step) == [("armed", True), ("reject", False), ("part", 1)]


def test_the_end_of_the_process_leaves_the_fail_safe() -> None:
    step = armed().end(1200 * MS)
    assert puts(step) == [("reject", True), ("armed", False)]
    assert step.changes[0].reason == "connect stops"


def test_a_lost_link_writes_nothing_and_latches() -> None:
    machine = armed()
    step = machine.lost(1200 * MS, "cable")
    assert step.puts == () and step.changes[0].reason == "cable"
    assert machine.latched and machine.due_ns is None


def tag(name: str, kind: str = "bool", access: Access = Access.WRITE, scale: float = 1.0) -> Tag:
    return Tag(name=name, address="0", type=kind, access=access, scale=scale)


GOOD = {one.name: one for one in (
    tag("reject"), tag("part", "uint32"), tag("armed"), tag("rearm", access=Access.READ), tag("beat", "uint16"),
)}  # fmt: skip


def test_output_tags_that_fit_are_no_problem() -> None:
    assert output_problems({"caps": OUTPUTS}, GOOD) == []
    assert own_tags(OUTPUTS) == {"reject", "part", "armed", "beat"}
    assert machine_of(OUTPUTS, GOOD, BOOT).latched


@pytest.mark.parametrize(("change", "said"), [
    ({"reject": tag("reject", access=Access.READ)}, "read only"), ({"part": tag("part", "float32")}, "is a float32"),
    ({"beat": tag("beat", "uint16", scale=0.1)}, "not scaled"), ({"armed": None}, "not in the source's tag list"),
])  # fmt: skip
def test_a_wrong_output_tag_is_named(change: dict[str, Tag | None], said: str) -> None:
    tags = {name: one for name, one in (GOOD | change).items() if one is not None}
    (problem,) = output_problems({"caps": OUTPUTS}, tags)
    assert said in problem and "outputs.caps" in problem


def test_two_pipelines_never_share_an_output() -> None:
    problems = output_problems({"caps": OUTPUTS, "labels": OUTPUTS}, GOOD)
    assert len(problems) == 4 and all("outputs.caps and outputs.labels" in problem for problem in problems)
