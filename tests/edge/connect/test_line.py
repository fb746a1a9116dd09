"""connect beside the simulated plant: readings, loss and recovery, decisions at the PLC, fail-safe."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.sim import control
from edge.sim.parts import PartStream
from schemas.messages import Phase, Quality, State, Verdict

SLACK_MS = 800
pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]
SLOW_LINE = ("--parts-per-s", "5", "--travel-ms", "150")


@pytest.mark.slow
async def test_readings_arrive_by_poll_group_with_all_their_tags(
    start_plant: Any, station: Any, wait_until: Any, face: Any
) -> None:
    made = await station(start_plant(*SLOW_LINE, face=face), face=face)
    await wait_until(lambda: len(made.readings_of("fast")) > 20 and made.readings_of("process"), "readings")

    process = made.readings_of("process")[-1]
    assert process.source == "plant"
    assert {"Line.Speed", "Motor.Temperature", "Fill.Temperature", "Line.Running"} <= set(process.tags)
    assert all(sample.quality is Quality.GOOD for sample in process.tags.values())
    assert 300 < process.tags["Line.Speed"].value < 700
    assert 20 < process.tags["Motor.Temperature"].value < 90
    assert process.tags["Line.Running"].value is True
    fast = made.readings_of("fast")
    span_s = (fast[-1].scan_ns - fast[0].scan_ns) / 1e9
    assert 0.8 < span_s / (0.02 * (len(fast) - 1)) < 1.5


@pytest.mark.slow
async def test_a_cut_cable_makes_every_tag_bad_at_once_and_it_recovers_by_itself_five_times(
    start_plant: Any, station: Any, wait_until: Any
) -> None:
    plant = start_plant(*SLOW_LINE)
    made = await station(plant.modbus_port)
    for turn in range(1, 6):
        await wait_until(lambda: made.seen.readings[-1].tags["Line.PartCounter"].quality is Quality.GOOD
                         if "Line.PartCounter" in made.seen.readings[-1].tags else False, "good again")  # fmt: skip
        cut_ns = time.monotonic_ns()
        plant.fault("cut", 60)
        await wait_until(lambda t=turn: len(made.seen.events_of("plc_lost", Phase.NEW)) == t, "plc_lost")
        bad = [
            r
            for r in made.seen.readings
            if r.scan_ns > cut_ns and any(s.quality is Quality.BAD for s in r.tags.values())
        ]
        assert {reading.group for reading in bad} == {"fast", "process"}
        for reading in bad:
            assert all(s.quality is Quality.BAD and s.value is None and s.reason for s in reading.tags.values())
        noticed_ms = (bad[0].scan_ns - cut_ns) / 1e6
        assert noticed_ms < 20 + 200 + SLACK_MS, "later than one period, the timeout and a busy machine's slack"
        plant.clear()
        await wait_until(lambda t=turn: len(made.seen.events_of("plc_lost", Phase.END)) == t, "recovery", 15)
    assert made.child.poll() is None


async def test_a_verdict_stands_in_the_coil_before_its_output_is_told(
    start_plant: Any, station: Any, leased: Any, wait_until: Any, peer: Callable[[str], Path]
) -> None:
    plant = start_plant(*SLOW_LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await wait_until(lambda: made.seen.events_of("failsafe", Phase.END), "re-armed")
        part_id = plant.state()["parts"] + 1000
        accept = made.decide(Verdict.OK, part_id)
        output = await wait_until(lambda: [o for o in made.seen.outputs if o.result_id == accept], "output")
        assert (output[0].failsafe, output[0].late, output[0].part_id) == (False, False, part_id)
        assert 0 < output[0].actuate_ms <= output[0].total_ms
        assert coil(peer, plant.modbus_port, 0) is False
        assert coil(peer, plant.modbus_port, 1) is True
        assert plant.state()["part_id"] == part_id
        reject = made.decide(Verdict.NOK, part_id + 1)
        await wait_until(lambda: [o for o in made.seen.outputs if o.result_id == reject], "output")
        assert coil(peer, plant.modbus_port, 0) is True


def coil(peer: Callable[[str], Path], port: int, address: int) -> bool:
    """What an independent Modbus client reads from a coil."""
    words = [str(peer("mbpoll")), "-m", "tcp", "-p", str(port), "-0", "-r", str(address), "-t", "0", "-1", "127.0.0.1"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout
    found = re.search(rf"^\[{address}\]:\s*(\d)", said, re.MULTILINE)
    assert found, said
    return found[1] == "1"


@pytest.mark.slow
async def test_verdicts_reach_the_parts_that_they_were_made_for(
    start_plant: Any, station: Any, leased: Any, wait_until: Any, face: Any
) -> None:
    plant = start_plant("--parts-per-s", "20", "--travel-ms", "300", "--defect-rate", "0.3", face=face)
    made = await station(plant, face=face)
    truth = PartStream(1, 0.3)
    async with leased(made):
        await wait_until(lambda: made.seen.events_of("failsafe", Phase.END), "re-armed")
        before = plant.state()
        done = before["parts"]
        for _ in range(40):
            newest = await wait_until(lambda d=done: newest_part(made) > d and newest_part(made), "a part")
            for part_id in range(done + 1, newest + 1):
                made.decide(Verdict.NOK if truth.part(part_id).defect else Verdict.OK, part_id)
            done = newest
        await wait_until(lambda: plant.state()["parts"] > done, "the last part at the ejector")
        after = plant.state()
    decided = {key: after[key] - before[key] for key in ("correct_rejects", "correct_passes")}
    assert decided["correct_rejects"] > 3 and decided["correct_passes"] > 20
    assert after["missed_rejects"] == 0, "a bad part passed"
    assert after["false_rejects"] == before["false_rejects"], "a verdict went to another part"


def newest_part(station: Any) -> int:
    readings = station.readings_of("fast")
    return int(readings[-1].tags["Line.PartCounter"].value or 0) if readings else 0


@pytest.mark.slow
async def test_without_decisions_the_fail_safe_is_latched_until_the_plc_re_arms(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*SLOW_LINE, "--manual-rearm")
    made = await station(plant.modbus_port, lease_ms=300)
    assert made.seen.events_of("failsafe", Phase.NEW)[0].args["reason"] == "started"
    async with leased(made):
        await wait_until(lambda: not plant.state()["watchdog_tripped"], "heartbeat")
        held = made.decide(Verdict.OK, 1)
        output = (await wait_until(lambda: [o for o in made.seen.outputs if o.result_id == held], "output"))[0]
        assert output.failsafe and output.reason == "fail-safe is latched"
        assert plant.state()["reject"] is True and plant.state()["armed"] is False
        control.send_rearm(plant.socket)
        await wait_until(lambda: plant.state()["armed"], "armed")
    await wait_until(lambda: len(made.seen.events_of("failsafe", Phase.NEW)) == 2, "the lease's end", 5)
    assert "no decision" in made.seen.events_of("failsafe", Phase.NEW)[1].args["reason"]
    state = plant.state()
    assert state["armed"] is False and state["reject"] is True
    await wait_until(lambda: plant.state()["watchdog_trips"] == 1, "the PLC's watchdog, as the heartbeat stands still")
    assert made.seen.status[-1].state is State.DEGRADED


@pytest.mark.slow
async def test_after_a_kill_the_plc_rejects_by_itself_and_a_restart_begins_with_the_fail_safe(
    start_plant: Any, station: Any, leased: Any, wait_until: Any, face: Any
) -> None:
    plant = start_plant("--parts-per-s", "20", "--travel-ms", "100", face=face)
    made = await station(plant, face=face)
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed")
        made.decide(Verdict.OK, plant.state()["parts"] + 500)
        await wait_until(lambda: not plant.state()["reject"], "a verdict that lets parts pass")
        made.kill()
        before = plant.state()
        await wait_until(lambda: plant.state()["watchdog_trips"] == before["watchdog_trips"] + 1, "watchdog", 3)
        await wait_until(lambda: plant.state()["undecided"] > before["undecided"] + 5, "parts rejected by the PLC")
        assert plant.state()["missed_rejects"] == before["missed_rejects"]
        ends = len(made.seen.events_of("failsafe", Phase.END))
        made.start()
        await wait_until(lambda: plant.state()["reject"], "the fail-safe, first")
        await wait_until(lambda: not plant.state()["armed"], "disarmed in the same breath", 1)
        await wait_until(lambda: len(made.seen.events_of("failsafe", Phase.END)) == ends + 1, "re-armed")
        assert plant.state()["armed"] is True


@pytest.mark.slow
async def test_a_late_decision_writes_the_fail_safe_and_says_so(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*SLOW_LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed")
        late = made.decide(Verdict.OK, 7, budget_ms=-5)
        output = (await wait_until(lambda: [o for o in made.seen.outputs if o.result_id == late], "output"))[0]
        assert output.failsafe and output.late and "deadline passed" in output.reason
        assert plant.state()["reject"] is True and plant.state()["part_id"] == 7


@pytest.mark.slow
async def test_a_normal_stop_leaves_the_fail_safe_in_the_plc(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*SLOW_LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed")
        made.decide(Verdict.OK, plant.state()["parts"] + 500)
        await wait_until(lambda: not plant.state()["reject"], "a pass")
        made.stop()
        assert plant.state()["reject"] is True and plant.state()["armed"] is False
