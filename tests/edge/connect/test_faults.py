"""What pulls the fail-safe: each of connect, runtime, broker and cable, killed or hung."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from edge.sim import control
from schemas.messages import Phase, Quality, Verdict
from tests.device_process import HANG, WAKE

LINE = ("--parts-per-s", "20", "--travel-ms", "100")
pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(180)]


async def let_parts_pass(made: Any, plant: Any, wait_until: Any) -> None:
    """Bring the PLC to where a fail-safe has something to change: armed, and its coil lets parts pass."""
    await wait_until(lambda: plant.state()["armed"], "armed")
    made.decide(Verdict.OK, plant.state()["parts"] + 1000)
    await wait_until(lambda: not plant.state()["reject"], "a coil that lets parts pass")


async def test_a_dead_broker_ends_the_lease(
    start_plant: Any, station: Any, leased: Any, wait_until: Any, own_broker: Any
) -> None:
    broker, address = own_broker
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port, broker=address)
    async with leased(made):
        await let_parts_pass(made, plant, wait_until)
        broker.stop()
        began = time.monotonic()
        await wait_until(lambda: plant.state()["reject"] and not plant.state()["armed"], "the fail-safe", 3)
        assert time.monotonic() - began < 0.5 + 1.0, "the lease of 500 ms and a busy machine's slack"
        await wait_until(lambda: plant.state()["watchdog_tripped"], "the PLC's watchdog", 3)
    assert plant.state()["missed_rejects"] == 0
    assert made.child.poll() is None, "connect outlives its broker"


async def test_a_hung_broker_ends_the_lease(
    start_plant: Any, station: Any, leased: Any, wait_until: Any, own_broker: Any
) -> None:
    broker, address = own_broker
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port, broker=address)
    async with leased(made):
        await let_parts_pass(made, plant, wait_until)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            await wait_until(lambda: plant.state()["reject"] and not plant.state()["armed"], "the fail-safe", 3)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await wait_until(lambda: plant.state()["armed"], "armed again by itself", 15)


async def test_a_hung_runtime_ends_the_lease(start_plant: Any, station: Any, leased: Any, wait_until: Any) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await let_parts_pass(made, plant, wait_until)
    await wait_until(lambda: plant.state()["reject"] and not plant.state()["armed"], "the fail-safe", 3)
    before = plant.state()["undecided"]
    await wait_until(lambda: plant.state()["undecided"] > before, "parts are rejected by the PLC")
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed again")


async def test_a_hung_connect_trips_the_plcs_watchdog_and_wakes_with_the_fail_safe(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await let_parts_pass(made, plant, wait_until)
        trips = plant.state()["watchdog_trips"]
        made.child.send_signal(signal.SIGSTOP)
        await wait_until(lambda: plant.state()["watchdog_trips"] == trips + 1, "the PLC's watchdog", 3)
        late = made.decide(Verdict.OK, plant.state()["parts"] + 1000, budget_ms=50)
        await asyncio.sleep(0.1)  # the deadline passes while it hangs
        made.child.send_signal(signal.SIGCONT)
        output = (await wait_until(lambda: [o for o in made.seen.outputs if o.result_id == late], "its output"))[0]
        assert output.failsafe and output.late
        await wait_until(lambda: made.seen.events_of("failsafe", Phase.NEW)[-1].args["reason"] != "started", "told")
    assert plant.state()["missed_rejects"] == 0


async def test_while_the_loop_hangs_the_links_thread_writes_the_fail_safe(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port, start=False)
    made.start("tests.device_process")
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed", 30)
        await let_parts_pass(made, plant, wait_until)
        made.child.send_signal(HANG)
        state = await wait_until(lambda: (now := plant.state())["safe_since_s"] is not None and now, "the fail-safe", 3)
        assert state["reject"] and not state["armed"] and not state["watchdog_tripped"], "written, not waited for"
        readings = len(made.seen.readings)
        await wait_until(lambda: plant.state()["watchdog_tripped"], "the heartbeat stands still, too", 3)
        assert len(made.seen.readings) <= readings + 1, "nothing comes from the loop"
        made.child.send_signal(WAKE)
        await wait_until(lambda: made.seen.events_of("failsafe", Phase.NEW)[1:], "told")
        await wait_until(lambda: plant.state()["armed"], "armed again", 15)
    assert plant.state()["missed_rejects"] == 0


async def test_a_driver_that_never_returns_trips_the_plcs_watchdog_and_ends_connect(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port, start=False)
    stuck = made.folder / "stuck"
    made.start("tests.device_process", "--stuck", str(stuck))
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed", 30)
        await let_parts_pass(made, plant, wait_until)
        trips, passes = plant.state()["watchdog_trips"], plant.state()["correct_passes"]
        stuck.touch()
        began = time.monotonic()
        await wait_until(lambda: plant.state()["watchdog_trips"] == trips + 1, "the PLC's watchdog", 3)
        await wait_until(lambda: made.child.poll() is not None, "its end", 15)
        assert time.monotonic() - began > 4.5, "a driver may take several timeouts"
        assert made.child.returncode == 1, "so that its supervisor starts it again"
        await wait_until(lambda: any("has not returned" in one.reason for one in made.seen.status), "why it ended")
        stuck.unlink()
        made.start()
        await wait_until(lambda: plant.state()["reject"] and not plant.state()["armed"], "the fail-safe, first")
        await wait_until(lambda: plant.state()["armed"], "armed again", 15)
    assert plant.state()["correct_passes"] == passes and plant.state()["missed_rejects"] == 0


async def test_a_cut_cable_loses_decisions_and_comes_back_with_the_fail_safe(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await let_parts_pass(made, plant, wait_until)
        plant.fault("cut", 60)
        await wait_until(lambda: made.seen.events_of("plc_lost", Phase.NEW), "plc_lost")
        await wait_until(lambda: plant.state()["watchdog_tripped"], "the PLC's watchdog", 3)
        lost = made.decide(Verdict.OK, plant.state()["parts"] + 2000)
        await wait_until(lambda: made.seen.status[-1].counters.get("decisions_lost"), "counted as lost")
        plant.clear()
        await wait_until(lambda: made.seen.events_of("plc_lost", Phase.END), "recovery", 15)
        assert plant.state()["reject"] is True, "nothing that was on its way in the cut cable has arrived"
        await wait_until(lambda: plant.state()["armed"], "armed again")
        assert not [output for output in made.seen.outputs if output.result_id == lost]


async def test_a_slow_plc_makes_late_scans_that_are_counted_and_not_queued(
    start_plant: Any, station: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port, timeout_ms=1000)
    control.ask(plant.socket, {"do": "fault", "kind": "slow", "for_s": 60, "delay_s": 0.03})
    await wait_until(lambda: made.seen.status[-1].counters.get("late_scans", 0) > 10, "late scans are counted")
    assert not made.seen.events_of("plc_lost")
    plant.clear()
    before = len(made.readings_of("fast"))
    began = time.monotonic()
    await wait_until(lambda: len(made.readings_of("fast")) > before + 25, "the old pace")
    assert time.monotonic() - began > 0.35, "scans that were missed are not made up for in a burst"


async def test_under_more_decisions_than_a_slow_plc_takes_the_newest_are_in_time_and_all_are_accounted_for(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port, timeout_ms=1000)
    control.ask(plant.socket, {"do": "fault", "kind": "slow", "for_s": 60, "delay_s": 0.01})
    sent = []
    for part_id in range(1, 601):
        sent.append(made.decide(Verdict.OK, part_id, budget_ms=300))
        await asyncio.sleep(0.005)

    def unsettled() -> float:
        told = made.seen.status[-1].counters
        return len(sent) - len(made.seen.outputs) - told.get("decisions_expired", 0) - told.get("decisions_lost", 0)

    await wait_until(lambda: unsettled() == 0, "each decision is written or counted", 20)
    ids = [output.result_id for output in made.seen.outputs]
    assert len(ids) == len(set(ids)) < len(sent)
    assert sum(not output.late for output in made.seen.outputs) > 20, "a backlog does not make all that follow late"
    assert made.child.poll() is None


async def test_garbage_is_a_lost_link_and_never_a_crash(start_plant: Any, station: Any, wait_until: Any) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port)
    for turn in range(1, 3):
        plant.fault("garbage", 60)
        await wait_until(lambda t=turn: len(made.seen.events_of("plc_lost", Phase.NEW)) >= t, "plc_lost", 20)
        plant.clear()
        await wait_until(lambda t=turn: len(made.seen.events_of("plc_lost", Phase.END)) >= t, "recovery", 20)
    assert all(sample.quality is Quality.GOOD for sample in made.seen.readings[-1].tags.values())
    assert made.child.poll() is None
