"""The table {connect, runtime, broker, agent, OS, cable} x {killed, hung} of docs/explanation/fail-safe.md, by cells.

One line is broken again and again; `./run bench plc_failsafe` does the same a hundred times each, and measures.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.plc_faults import FAULTS, Cuts
from tests.plc_line import PlcLine

BOUND_MS = 500.0  # the lease, and the PLC's watchdog
SLACK_MS = 500.0  # of a busy machine
pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cuts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cuts]:
    async with PlcLine(tmp_path_factory.mktemp("line")).running() as line:
        yield Cuts(line)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_ends_at_the_plcs_fail_safe_until_the_reset(name: str, cuts: Cuts) -> None:
    fault = FAULTS[name]
    found = await cuts.cut(fault)
    if not fault.trips:
        assert found.ms == 0.0, "no output depends on it"
        return
    assert 0.0 < found.ms < BOUND_MS + SLACK_MS
    assert found.written is fault.written, "by the device's write, or by the PLC's own watchdog"
