"""The limits that follow from the settings."""

from pathlib import Path

import pytest

from edge.commissioning.faults import FAULTS, RECOVERY_MS, Acts, times_of
from edge.commissioning.steps import STEPS
from edge.settings import load_settings
from tests.conftest import ROOT

DEMO = load_settings(ROOT / "edge" / "sim" / "demo")
TIMES = times_of(DEMO.outputs["cap_inspection"], DEMO.sources["plant"])
LIMITS = {
    "cut": 600, "slow": 920, "garbage": 920, "wrong-type": 1920, "freeze": 600, "connect-killed": 600,
    "connect-hung": 600, "runtime-killed": 600, "runtime-hung": 600, "broker-killed": 600, "broker-hung": 600,
}  # fmt: skip


def test_the_demos_limits_are_those_that_the_documentation_states() -> None:
    assert {fault.key: TIMES.limit(fault) for fault in FAULTS} == LIMITS
    text = (ROOT / Path("docs/explanation/fail-safe.md")).read_text()
    for said in ("`lease_ms` 500", "`heartbeat_ms` 100", "`timeout_ms` 300", "fast poll group 20 ms"):
        assert said in text


def test_a_slower_heartbeat_makes_the_plcs_watchdog_slower() -> None:
    outputs = DEMO.outputs["cap_inspection"].model_copy(update={"heartbeat_ms": 200.0, "lease_ms": 700.0})
    times = times_of(outputs, DEMO.sources["plant"])
    limits = {fault.key: times.limit(fault) for fault in FAULTS}
    assert limits["cut"] == 1200 and limits["runtime-hung"] == 900


def test_a_hung_process_has_its_supervisors_time_besides() -> None:
    found = {fault.key: TIMES.recovery(fault) for fault in FAULTS}
    assert found["connect-hung"] == found["runtime-hung"] == RECOVERY_MS + 3_000
    assert {found[key] for key in found if key not in ("connect-hung", "runtime-hung")} == {RECOVERY_MS}


def test_each_key_stands_once_and_each_row_says_who_acts() -> None:
    assert len({fault.key for fault in FAULTS}) == len(FAULTS)
    assert {fault.acts for fault in FAULTS} == set(Acts)
    assert len({step.key for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize(("key", "limit"), [("cable", 420), ("runtime", 600), ("broker", 600), ("connect", None)])
def test_a_guided_steps_limit_counts_from_what_the_bus_shows(key: str, limit: float | None) -> None:
    assert next(step for step in STEPS if step.key == key).limit(TIMES) == limit
