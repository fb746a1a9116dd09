"""Results and their acknowledgement, the PLC's request, and manual: what is put when, and what is told of it."""

import itertools

import pytest

from edge.plc.outputs.machine import NOTHING, OutputsMachine, Step
from edge.plc.outputs.table import output_problems
from edge.plc.tags.tag import Access, Tag
from edge.settings import Outputs
from schemas.messages import Phase, Verdict
from tests.edge.connect.test_outputs_in_every_order import BOOT, MS, SHAKING, decision

LIMIT = 65_535
FIRST = LIMIT // 2 + 1  # the first number after an answer of 0


def puts(step: Step) -> list[tuple[str, bool | int]]:
    return [(put.tag, put.value) for put in step.puts]


def decide(
    machine: OutputsMachine, at_ms: int, verdict: Verdict = Verdict.OK, part: int = 1, budget: float = 5000
) -> Step:
    return machine.decide(decision(at_ms * MS, verdict, f"r{part}", part, budget), at_ms * MS, at_ms * MS)


def in_step(outputs: Outputs = SHAKING) -> OutputsMachine:
    """A machine at 1 s, armed and in step with the PLC."""
    machine = OutputsMachine(outputs, BOOT)
    machine.begin(0, "started")
    machine.acknowledge(0, 900 * MS)
    machine.acknowledge(FIRST, 950 * MS)
    decide(machine, 1000, part=0)
    machine.acknowledge(FIRST + 1, 1000 * MS)
    machine.rearm(True, 1000 * MS, 1000 * MS)
    assert not machine.latched
    return machine


def test_it_begins_with_an_empty_result_far_from_the_last_number() -> None:
    machine = OutputsMachine(SHAKING, BOOT)
    assert puts(machine.begin(0, "started"))[:3] == [("reject", True), ("valid", False), ("armed", False)]
    assert decide(machine, 100).puts == (), "nothing before the PLC's last answer is known"
    empty = machine.acknowledge(7, 110 * MS)
    assert puts(empty) == [("reject", True), ("part", 0), ("number", 7 + FIRST)]
    assert machine.acknowledge(7, 120 * MS) == NOTHING
    waited = machine.acknowledge(7 + FIRST, 130 * MS)
    assert puts(waited) == [("reject", True), ("part", 1), ("number", 8 + FIRST)], "latched, so the fail-safe"


def test_the_next_result_is_put_once_the_last_is_acknowledged_and_told_then() -> None:
    machine = in_step()
    first = decide(machine, 1010, Verdict.OK, 1)
    assert puts(first)[-4:] == [("reject", False), ("valid", True), ("part", 1), ("number", FIRST + 2)]
    assert first.applied is None and first.settled == (), "not yet in the PLC's hands"
    assert ("number", FIRST + 3) not in puts(decide(machine, 1020, Verdict.NOK, 2))
    assert machine.acknowledge(FIRST + 1, 1030 * MS).puts == ()
    second = machine.acknowledge(FIRST + 2, 1040 * MS)
    assert [one.decision.part_id for one in second.settled] == [1]
    assert puts(second) == [("reject", True), ("part", 2), ("number", FIRST + 3)]


def test_the_oldest_of_too_many_gives_way_and_is_counted() -> None:
    machine = in_step()
    for part in range(1, 7):
        decide(machine, 1010 + part, Verdict.OK, part)
    assert machine.handshake.dropped == 2, "one stands, three of five wait"
    assert ("part", 4) in puts(machine.acknowledge(FIRST + 2, 1020 * MS))


def test_without_an_acknowledgement_the_fail_safe_is_latched_and_an_empty_result_put() -> None:
    machine = in_step()
    decide(machine, 1010, Verdict.OK, 1)
    assert machine.due_ns is not None and machine.due_ns <= 1160 * MS
    late = machine.tick(1160 * MS)
    assert [change.phase for change in late.changes] == [Phase.NEW]
    assert late.changes[0].reason == "the PLC has not acknowledged r1 for 150 ms"
    assert puts(late)[:3] == [("reject", True), ("valid", False), ("armed", False)]
    assert ("number", FIRST + 3) in puts(late) and ("part", 0) in puts(late)
    assert machine.handshake.missed == 1 and machine.latched
    assert machine.rearm(True, 1170 * MS, 1170 * MS).changes == (), "no reset before the PLC is in step"
    assert ("number", FIRST + 3) in puts(machine.tick(1310 * MS)), "again: a PLC that was restarted has lost it"
    assert machine.handshake.missed == 1
    decide(machine, 1320, Verdict.OK, 2)
    assert machine.acknowledge(FIRST + 2, 1330 * MS) == NOTHING, "the late answer opens nothing"
    assert ("part", 2) in puts(machine.acknowledge(FIRST + 3, 1340 * MS))
    assert machine.rearm(True, 1350 * MS, 1350 * MS).changes[-1].phase is Phase.END


def test_a_result_that_waited_past_its_deadline_is_put_as_the_fail_safe() -> None:
    machine = in_step()
    decide(machine, 1010, Verdict.OK, 1)
    decide(machine, 1011, Verdict.OK, 2, budget=20)
    assert ("reject", True) in puts(machine.acknowledge(FIRST + 2, 1100 * MS))


def test_a_result_overwritten_before_its_acknowledgement_is_told_as_the_fail_safe() -> None:
    machine = in_step(SHAKING.model_copy(update={"ack_timeout_ms": 900.0}))
    decide(machine, 1010, Verdict.OK, 1)
    machine.tick(1700 * MS)
    (told,) = machine.acknowledge(FIRST + 2, 1710 * MS).settled
    assert told.failsafe and "no decision or self-test" in told.reason


def test_numbers_turn_over_within_their_tag() -> None:
    machine = OutputsMachine(SHAKING, BOOT, number_limit=3)
    machine.begin(0, "started")
    number = next(value for tag, value in puts(machine.acknowledge(3, 0)) if tag == "number")
    seen = [number]
    for part in range(8):
        decide(machine, part, part=part)
        answered = machine.acknowledge(seen[-1], part * MS)
        seen += [value for tag, value in puts(answered) if tag == "number"]
    assert set(seen) == {1, 2, 3} and all(a != b for a, b in itertools.pairwise(seen))


# -- request ----------------------------------------------------------------------------------------------------------

ASKED = SHAKING.model_copy(update={"result_id": "", "result_ack": "", "request_timeout_ms": 200.0})


def asked() -> OutputsMachine:
    machine = OutputsMachine(ASKED, BOOT)
    machine.begin(0, "started")
    decide(machine, 1000, part=0)
    machine.rearm(True, 1000 * MS, 1000 * MS)
    machine.request(False, 1000 * MS, 1001 * MS)
    assert puts(machine.request(True, 1020 * MS, 1021 * MS)) == [("done", False), ("error", False), ("busy", True)]
    return machine


def test_a_request_is_answered_by_the_first_decision_about_what_came_after_it() -> None:
    machine = asked()
    assert ("done", True) not in puts(decide(machine, 1009, Verdict.OK, 1)), "triggered at 999 ms"
    assert puts(decide(machine, 1030, Verdict.NOK, 2))[-3:] == [("busy", False), ("error", False), ("done", True)]
    assert machine.request(True, 1040 * MS, 1040 * MS) == NOTHING, "the same question"
    assert puts(machine.request(False, 1050 * MS, 1050 * MS)) == [("busy", False), ("error", False), ("done", False)]


def test_a_request_without_a_verdict_ends_in_an_error() -> None:
    assert puts(decide(asked(), 1030, Verdict.UNKNOWN, 2))[-3:] == [("busy", False), ("error", True), ("done", True)]
    machine = asked()
    assert machine.due_ns is not None and machine.due_ns <= 1221 * MS
    assert puts(machine.tick(1221 * MS))[-3:] == [("busy", False), ("error", True), ("done", True)]
    assert machine.request(True, 1230 * MS, 1230 * MS) == NOTHING


def test_a_request_is_done_once_its_result_is_acknowledged() -> None:
    machine = in_step()
    machine.request(False, 1000 * MS, 1001 * MS)
    machine.request(True, 1010 * MS, 1011 * MS)
    assert ("done", True) not in puts(decide(machine, 1025, Verdict.OK, 1))
    assert ("done", True) in puts(machine.acknowledge(FIRST + 2, 1040 * MS))


# -- manual -----------------------------------------------------------------------------------------------------------


def test_in_manual_nothing_but_armed_is_written_and_decisions_are_told() -> None:
    machine = in_step()
    taken = machine.own(True, "mes1", 1010 * MS)
    assert puts(taken) == [("armed", False)]
    assert [(one.manual, one.by) for one in taken.owners] == [(True, "mes1")]
    assert taken.changes[0].reason == "manual, by mes1"
    step = decide(machine, 1020, Verdict.NOK, 3)
    assert [(one.manual, one.reason) for one in step.settled] == [(True, "manual")]
    assert {tag for tag, _ in puts(step)} <= {"beat"}
    assert ("reject", True) not in puts(machine.tick(9000 * MS)), "a lost lease leaves the operator's value"
    assert ("reject", True) not in puts(machine.end(9001 * MS)), "and so does the end"
    assert machine.rearm(True, 9100 * MS, 9100 * MS).changes == ()


def test_automatic_again_begins_with_the_fail_safe_until_the_reset() -> None:
    machine = in_step()
    machine.own(True, "mes1", 1010 * MS)
    machine.own(True, "the PLC", 1020 * MS)
    assert machine.own(False, "mes1", 1030 * MS) == NOTHING, "the PLC's switch still says manual"
    back = machine.own(False, "the PLC", 1040 * MS)
    assert puts(back) == [("reject", True), ("valid", False), ("armed", False)]
    assert [one.manual for one in back.owners] == [False] and machine.latched
    assert ("part", 0) in puts(machine.acknowledge(5, 1050 * MS)), "the operator may have used a number"


def test_a_new_connection_is_automatic_and_latched() -> None:
    machine = in_step()
    machine.own(True, "mes1", 1010 * MS)
    machine.lost(1020 * MS, "cable")
    step = machine.begin(1030 * MS, "came back")
    assert ("reject", True) in puts(step) and not machine.manual and machine.latched
    assert [one.manual for one in step.owners] == [False]


def test_what_waited_for_an_acknowledgement_is_told_as_manual() -> None:
    machine = in_step()
    decide(machine, 1010, part=1)
    decide(machine, 1011, part=2)
    assert [one.decision.part_id for one in machine.own(True, "mes1", 1012 * MS).settled] == [2]


# -- tags -------------------------------------------------------------------------------------------------------------

TAGS = {
    name: Tag(name=name, address="0", type=kind, access=Access.WRITE)
    for name, kind in {
        "reject": "bool", "part": "uint32", "armed": "bool", "rearm": "bool", "beat": "uint16", "number": "uint16",
        "ack": "uint16", "valid": "bool", "ask": "bool", "busy": "bool", "done": "bool", "error": "bool",
        "manual": "bool", "wide": "uint32",
    }.items()
}  # fmt: skip


def test_hooks_that_fit_are_no_problem() -> None:
    assert output_problems({"caps": SHAKING}, TAGS) == []


@pytest.mark.parametrize(("change", "said"), [
    ({"result_ack": ""}, "result_id 'number' makes no sense without result_ack"),
    ({"result_ack": "wide"}, "give both the same type"), ({"done": ""}, "request 'ask' makes no sense without done"),
    ({"busy": "part"}, "busy 'part' is a uint32"), ({"manual": "nobody"}, "not in the source's tag list"),
])  # fmt: skip
def test_a_hook_that_does_not_fit_is_named(change: dict[str, str], said: str) -> None:
    assert any(said in problem for problem in output_problems({"caps": SHAKING.model_copy(update=change)}, TAGS))
