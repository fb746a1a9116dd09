"""The outputs' state machine in every order of events, with and without the PLC's acknowledgement."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.plc.outputs.machine import OutputsMachine, Step
from edge.plc.outputs.request_bits import Put
from edge.settings import Outputs
from schemas.messages import Decision, Phase, Proof, Verdict

BOOT = "b00t"
MS = 1_000_000
PLAIN = Outputs(
    source="plant", verdict="reject", part="part", armed="armed", rearm="rearm", heartbeat="beat",
    heartbeat_ms=100, lease_ms=500,
)  # fmt: skip
SHAKING = PLAIN.model_copy(update={
    "result_id": "number", "result_ack": "ack", "ack_timeout_ms": 150.0, "results_waiting": 3, "data_valid": "valid",
    "request": "ask", "busy": "busy", "done": "done", "error": "error", "manual": "manual",
})  # fmt: skip

inputs = st.lists(
    st.one_of(
        *(
            st.tuples(st.just("decide"), st.sampled_from(Verdict), st.integers(-200, 200), st.booleans())
            for _ in range(3)
        ),
        st.tuples(st.just("selftest"), st.integers(-200, 200)),
        st.tuples(st.just("rearm"), st.integers(0, 100)),
        *(st.tuples(st.just("ack")) for _ in range(3)),
        st.tuples(st.just("stale ack"), st.integers(0, 9)),
        st.tuples(st.just("ask"), st.booleans()),
        st.tuples(st.just("own"), st.booleans(), st.sampled_from(("the PLC", "mes1"))),
        st.tuples(st.just("tick")),
        st.tuples(st.just("link")),
    ).flatmap(lambda one: st.tuples(st.just(one), st.one_of(st.integers(0, 20), st.integers(0, 400)))),
    min_size=12,  # on average 24: few short ones get anywhere
    max_size=60,
)
BEGINNING: list[tuple[tuple[Any, ...], int]] = [(("ack",), 0), (("ack",), 0), (("selftest", 100), 0), (("rearm", 0), 0)]


class Watch:
    """The PLC's memory, and what must hold of each write to it."""

    def __init__(self, shaking: bool) -> None:
        self.shaking = shaking
        self.memory: dict[str, bool | int] = {"reject": True, "armed": False, "number": 7, "part": 5}
        self.empty = False  # the number that stands there is an empty result's
        self.acknowledged = 6  # the earlier process's last result is still to be latched
        self.armed = False

    def write(self, puts: tuple[Put, ...], *, passes: bool, leased: bool, manual: bool) -> None:
        for put in puts:
            if put.tag == "part" and put.value and self.shaking:
                assert self.memory["number"] == self.acknowledged, "a result before the answer to the last"
            if put.tag == "number":
                again = self.empty and self.memory["part"] == 0
                assert put.value != self.memory["number"] or again, "the PLC would not see it come"
                self.empty = self.memory["part"] == 0
            self.memory[put.tag] = put.value
            if put.tag == "armed":
                self.armed = bool(put.value)
                assert not put.value or leased, "armed without a lease"
                assert not put.value or not manual, "armed while the operator owns the outputs"
            if put == Put("reject", False):
                assert passes and self.armed and leased
            if put == Put("valid", True):
                assert self.armed and not manual
            if put.tag == "beat":
                assert leased, "a heartbeat without a lease"
            assert not manual or put.tag not in ("reject", "part", "number"), "the operator owns it"


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [PLAIN, SHAKING], ids=["plain", "shaking"])
@settings(max_examples=60)
@given(story=st.one_of(inputs, inputs.map(lambda story: BEGINNING + story)))
def test_in_every_order_of_events_a_part_passes_only_by_a_fresh_ok_under_an_armed_lease(
    outputs: Outputs, story: list[tuple[tuple[Any, ...], int]]
) -> None:
    machine = OutputsMachine(outputs, BOOT)
    plc = Watch(bool(outputs.result_id))
    machine.begin(0, "started")
    now, fresh_ns = 1000 * MS, -(10**12)
    fresh: dict[str, int] = {}  # OKs of this boot -> deadline
    for number, (event, gap_ms) in enumerate(story):
        now += gap_ms * MS
        was_latched = machine.latched
        step = act(machine, plc, event, number, now, fresh)
        if (event[0] == "decide" and event[2] >= 0 and event[3]) or (event[0] == "selftest" and event[1] >= 0):
            fresh_ns = now
        newest = [f"p{number}"] if not outputs.result_id else list(fresh)  # without the handshake nothing waits
        passes = any(fresh.get(name, 0) >= now for name in newest)
        plc.write(step.puts, passes=passes, leased=now - fresh_ns < 500 * MS, manual=machine.manual)
        for told in (*step.settled, *((step.applied,) if step.applied else ())):
            assert (
                told.decision.result_id in fresh
                or told.failsafe
                or told.decision.verdict is not Verdict.OK
                or told.manual
            )
        if step.changes:
            assert (step.changes[-1].phase is Phase.NEW) is machine.latched
        assert plc.armed is not machine.latched or event[0] == "link"
        assert not machine.manual or machine.latched
        assert was_latched or machine.latched or not step.puts or plc.armed
        plc.armed = plc.armed and event[0] != "link"


def act(
    machine: OutputsMachine, plc: Watch, event: tuple[Any, ...], number: int, now: int, fresh: dict[str, int]
) -> Step:
    """The machine's answer; a fresh OK is noted."""
    actions: dict[str, Callable[[], Step]] = {
        "decide": lambda: machine.decide(decided(event, number, now, fresh), now, now),
        "selftest": lambda: machine.decide(
            decision(now, Verdict.OK, f"s{number}", None, event[1], proof=Proof.SELFTEST), now, now
        ),
        "rearm": lambda: machine.rearm(True, now - event[1] * MS, now),
        "ack": lambda: acknowledge(machine, plc, now),
        "stale ack": lambda: machine.acknowledge(max(0, plc.acknowledged - event[1]), now),
        "ask": lambda: machine.request(event[1], now, now),
        "own": lambda: machine.own(event[1], event[2], now),
        "tick": lambda: machine.tick(now),
        "link": lambda: (machine.lost(now, "cable"), machine.begin(now, "came back"))[1],
    }
    return actions[event[0]]()


def acknowledge(machine: OutputsMachine, plc: Watch, now: int) -> Step:
    """The PLC latches what stands in its memory, and its answer is read."""
    plc.acknowledged = int(plc.memory["number"])
    return machine.acknowledge(plc.acknowledged, now)


def decided(event: tuple[Any, ...], number: int, now: int, fresh: dict[str, int]) -> Decision:
    one = decision(now, event[1], f"p{number}", number, event[2], boot=BOOT if event[3] else "old")
    if event[1] is Verdict.OK and event[3]:
        fresh[one.result_id] = one.deadline_ns
    return one


def decision(at_ns: int, verdict: Verdict, name: str, part_id: int | None, budget_ms: float, **fields: Any) -> Decision:
    values: dict[str, Any] = {
        "pipeline": "caps", "result_id": name, "part_id": part_id, "verdict": verdict, "proof": Proof.PART,
        "boot": BOOT, "trigger_ns": at_ns - 10 * MS, "deadline_ns": at_ns + int(budget_ms * MS),
    }  # fmt: skip
    return Decision(**(values | fields))
