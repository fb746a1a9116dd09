"""A source's cable is cut a hundred times: how soon its tags are Bad with a reason, and that it is back each time."""

import time
from typing import Any

import numpy as np
import pytest

from edge.processes import CONNECT
from schemas.messages import LINK_LOST, Phase, Quality, Reading
from tests.bench.machine import real_time
from tests.edge.connect.conftest import FACES
from tests.integration.account import tell
from tests.integration.test_accounting import FIGURES
from tests.plc_line import PLC_FIFO

CUTS = 100
PERIOD_MS, TIMEOUT_MS = 20.0, 200.0  # of the fast poll group, and of the source
SLACK_MS = 20.0  # of a scan that was under way, and of the clock of a request's timeout
STALL_MS = 800.0  # what a busy test machine may do to a few
BACK_S = 5.0
pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", ["modbus", "s7", "ethernetip"])
async def test_a_source_that_was_cut_a_hundred_times_is_back_each_time_without_a_restart(
    name: str, start_plant: Any, station: Any, wait_until: Any
) -> None:
    face = FACES[name]
    plant = start_plant("--parts-per-s", "5", face=face)
    made = await station(plant, face=face, timeout_ms=TIMEOUT_MS)
    child, bad_ms, back_ms = made.child, [], []
    for pid, priority in ((child.pid, CONNECT.priority("plant")), (plant.child.pid, PLC_FIFO)):
        real_time(pid, priority)  # as under systemd, where it is permitted; the plant stands for another machine
    for turn in range(1, CUTS + 1):
        await wait_until(lambda: good(made.seen.readings[-1]), "good again")
        cut_ns = time.monotonic_ns()
        plant.fault("cut", 60, face.name)
        lost = await wait_until(lambda at=cut_ns: bad_since(made.seen.readings, at), "Bad")
        bad_ms.append((lost.scan_ns - cut_ns) / 1e6)
        await wait_until(lambda t=turn: len(made.seen.events_of("plc_lost", Phase.NEW)) == t, "told")
        mended_ns = time.monotonic_ns()
        plant.clear()
        await wait_until(lambda t=turn: len(made.seen.events_of("plc_lost", Phase.END)) == t, "recovery", 15)
        back_ms.append((time.monotonic_ns() - mended_ns) / 1e6)
        made.seen.readings[:-1] = []
    assert made.child is child and child.poll() is None
    tell(f"recovery-{name}", {"bad_ms": figures(bad_ms), "back_ms": figures(back_ms)}, FIGURES)
    assert len(back_ms) == CUTS and max(back_ms) < BACK_S * 1e3
    assert np.percentile(bad_ms, 95) < PERIOD_MS + TIMEOUT_MS + SLACK_MS
    assert max(bad_ms) < PERIOD_MS + TIMEOUT_MS + STALL_MS


def good(reading: Reading) -> bool:
    return all(sample.quality is Quality.GOOD for sample in reading.tags.values())


def bad_since(readings: list[Reading], since_ns: int) -> Reading | None:
    """The first reading after a time whose tags are Bad, all of them and with a reason."""
    found = next((one for one in readings if one.scan_ns > since_ns and not good(one)), None)
    if found is not None:
        assert all(
            one.quality is Quality.BAD and one.value is None and one.reason.startswith(LINK_LOST)
            for one in found.tags.values()
        )
    return found


def figures(times_ms: list[float]) -> dict[str, float]:
    return {"median": round(float(np.median(times_ms)), 1), "worst": round(max(times_ms), 1)}
