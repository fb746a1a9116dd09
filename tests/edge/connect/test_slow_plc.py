"""A PLC whose cycle is longer than two writes: by the part's id it latches wrong verdicts, by number it can't."""

import time
from collections import deque
from typing import Any

import pytest

from edge.plc.outputs.machine import OutputsMachine, Step
from edge.settings import Outputs
from edge.sim.ladder import DecidedBy, Ladder
from edge.sim.parts import PartStream
from schemas.messages import Phase, Verdict
from tests.edge.connect.test_outputs_in_every_order import BOOT, MS, decision

pytestmark = pytest.mark.alone

PARTS = 60
CYCLE_MS, POLL_MS = 36.5, 5  # out of step with the parts: now and then it runs between two writes


class Line:
    """The machine and the PLC's program on one clock, a write taking a millisecond."""

    def __init__(self, handshake: bool) -> None:
        hooks = {"result_id": "number", "result_ack": "ack"} if handshake else {}
        outputs = Outputs(
            source="plc", verdict="reject", part="part", armed="armed", rearm="rearm", lease_ms=60_000,
            results_waiting=PARTS, ack_timeout_ms=500,
        ).model_copy(update=hooks)  # fmt: skip
        self.now_ms = 0
        self.machine = OutputsMachine(outputs, BOOT)
        self.ladder = Ladder(0.0, cycle_s=CYCLE_MS / 1000, handshake=handshake)
        self.handshake = handshake
        self.writes: deque[tuple[str, bool | int]] = deque()
        self.carry_out(self.machine.begin(0, "started"))

    def carry_out(self, step: Step) -> None:
        self.writes.extend((put.tag, put.value) for put in step.puts)

    def pass_ms(self, count: int) -> None:
        """Let time pass: one write, the PLC's cycle where it is due, and every few milliseconds a poll."""
        for _ in range(count):
            self.now_ms += 1
            if self.writes:
                self.write(*self.writes.popleft())
            self.ladder.write_heartbeat(self.now_ms, self.now_ms / 1000)
            if self.handshake and not self.writes and self.now_ms % POLL_MS == 0:
                self.carry_out(self.machine.acknowledge(self.ladder.result_ack, self.now_ms * MS))

    def write(self, tag: str, value: bool | int) -> None:
        if tag == "reject":
            self.ladder.reject = bool(value)
        elif tag == "part":
            self.ladder.write_part_id(int(value))
        elif tag == "number":
            self.ladder.write_result_id(int(value))
        else:
            self.ladder.write_armed(bool(value), self.now_ms / 1000)

    def decide(self, part: int, verdict: Verdict) -> None:
        self.ladder.enter(part)
        now_ns = self.now_ms * MS
        self.carry_out(self.machine.decide(decision(now_ns, verdict, f"r{part}", part, 60_000), now_ns, now_ns))


def run(handshake: bool) -> list[tuple[Verdict, bool, DecidedBy]]:
    """What became of alternating parts that came every 20 ms: the verdict, whether it was rejected, and by whom."""
    line = Line(handshake)
    line.pass_ms(200)
    line.decide(0, Verdict.OK)
    line.pass_ms(100)
    line.carry_out(line.machine.rearm(True, 300 * MS, 300 * MS))
    verdicts = [(part, Verdict.OK if part % 2 else Verdict.NOK) for part in range(1, PARTS + 1)]
    for part, verdict in verdicts:
        line.decide(part, verdict)
        line.pass_ms(20)
    line.pass_ms(PARTS * 50)
    return [(verdict, *line.ladder.leave(part, line.now_ms / 1000)) for part, verdict in verdicts]


def test_without_the_handshake_a_slow_plc_passes_bad_parts_and_misses_others() -> None:
    fates = run(handshake=False)
    assert (Verdict.NOK, False, DecidedBy.VERDICT) in fates, "a bad part passed by its neighbour's verdict"
    assert any(by is DecidedBy.PLC for _, _, by in fates), "and some were never seen"


def test_with_the_handshake_each_part_gets_its_own_verdict() -> None:
    assert set(run(handshake=True)) == {
        (Verdict.OK, False, DecidedBy.VERDICT), (Verdict.NOK, True, DecidedBy.VERDICT),
    }  # fmt: skip


HOOKS = """
result_id = "Edge.ResultId"
result_ack = "Plc.ResultAck"
ack_timeout_ms = 400
data_valid = "Edge.DataValid"
"""
TAGS = """Edge.ResultId,hr:3,uint16,rw,process,,,,,,,,,,
Plc.ResultAck,ir:7,uint16,r,fast,,,,,,,,,,
Edge.DataValid,coil:2,bool,rw,process,,,,,,,,,,
"""


@pytest.mark.slow
async def test_over_a_real_link_a_burst_reaches_a_slow_plc_one_by_one(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    line = ("--parts-per-s", "8", "--travel-ms", "2500", "--defect-rate", "0.1")
    plant = start_plant(*line, "--cycle-ms", "60", "--handshake")
    truth = PartStream(1, 0.1)
    made = await station(plant.modbus_port, start=False)
    settings = made.folder / "device.toml"
    settings.write_text(settings.read_text().replace('armed = "Edge.Armed"', f'armed = "Edge.Armed"{HOOKS}'))
    with (made.folder / "plant.csv").open("a") as tags:
        tags.write(TAGS)
    made.start()
    await wait_until(made.seen.readings.__len__, "first reading", 30)
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed")
        before = plant.state()
        newest = lambda: made.readings_of("fast")[-1].tags["Line.PartCounter"].value  # noqa: E731
        first = newest() + 1
        await wait_until(lambda: newest() >= first + 9, "ten parts on the belt")
        for part in range(first, first + 10):
            made.decide(Verdict.NOK if truth.part(part).defect else Verdict.OK, part, budget_ms=2000)
        began = time.monotonic()
        await wait_until(lambda: len(made.seen.outputs) >= 10, "ten acknowledged outputs")
        assert time.monotonic() - began > 9 * 0.06, "one in each of the PLC's cycles, at most"
        await wait_until(lambda: plant.state()["parts"] > first + 10, "the last at the ejector")
        after = plant.state()
    assert [output.part_id for output in made.seen.outputs] == list(range(first, first + 10))
    assert not any(output.failsafe or output.late for output in made.seen.outputs)
    assert after["missed_rejects"] == before["missed_rejects"] and after["false_rejects"] == before["false_rejects"]
    settled = after["correct_passes"] + after["correct_rejects"] - before["correct_passes"] - before["correct_rejects"]
    assert settled == 10


@pytest.mark.slow
async def test_a_plc_that_stops_to_acknowledge_latches_the_fail_safe_and_is_in_step_again_when_it_goes_on(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant("--parts-per-s", "8", "--travel-ms", "1000", "--handshake")
    made = await station(plant.modbus_port, start=False)
    settings = made.folder / "device.toml"
    settings.write_text(settings.read_text().replace('armed = "Edge.Armed"', f'armed = "Edge.Armed"{HOOKS}'))
    with (made.folder / "plant.csv").open("a") as tags:
        tags.write(TAGS)
    made.start()
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed", 30)
        made.decide(Verdict.OK, plant.state()["parts"] + 2)
        await wait_until(made.seen.outputs.__len__, "an acknowledged output")
        plant.fault("freeze", 60)
        made.decide(Verdict.OK, plant.state()["parts"] + 4, budget_ms=2000)
        told = await wait_until(lambda: made.seen.events_of("failsafe", Phase.NEW)[1:], "the fail-safe", 5)
        assert "has not acknowledged" in told[0].args["reason"]
        assert not made.seen.events_of("plc_lost"), "its communication answers all the while"
        await wait_until(lambda: plant.state()["watchdog_tripped"], "the PLC's own watchdog", 3)
        before = plant.state()
        made.decide(Verdict.OK, before["parts"] + 2, budget_ms=2000)
        await wait_until(lambda: plant.state()["parts"] >= before["parts"] + 8, "parts at the ejector")
        after = plant.state()
        assert [after[name] - before[name] for name in ("correct_passes", "missed_rejects")] == [0, 0]
        plant.clear()
        await wait_until(lambda: plant.state()["armed"] and not plant.state()["watchdog_tripped"], "armed again", 15)
        await wait_until(lambda: made.seen.events_of("failsafe", Phase.END)[1:], "told", 15)
        last: set[str] = set()

        def acknowledged() -> bool:
            last.add(made.decide(Verdict.OK, plant.state()["parts"] + 2, budget_ms=2000))
            return any(output.result_id in last and not output.failsafe for output in made.seen.outputs)

        await wait_until(acknowledged, "an acknowledged output of an armed device")
    assert made.child.poll() is None


@pytest.mark.slow
async def test_a_plc_that_answers_no_number_passes_nobody(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant("--parts-per-s", "5", "--travel-ms", "500")
    made = await station(plant.modbus_port, start=False)
    settings = made.folder / "device.toml"
    hooks = HOOKS.replace("Plc.ResultAck", "Plc.Heartbeat")  # it counts, but answers nobody
    settings.write_text(settings.read_text().replace('armed = "Edge.Armed"', f'armed = "Edge.Armed"{hooks}'))
    with (made.folder / "plant.csv").open("a") as tags:
        tags.write(TAGS)
    made.start()
    await wait_until(made.seen.readings.__len__, "first reading", 30)
    async with leased(made):
        for part in range(20):
            made.decide(Verdict.OK, part + 1)
        await wait_until(
            lambda: any(s.counters.get("results_dropped", 0) >= 4 for s in made.seen.status), "the oldest gave way"
        )
        assert plant.state()["reject"] is True and not plant.state()["armed"]
    assert made.seen.outputs == []
