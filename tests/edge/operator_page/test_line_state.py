"""What the page says of a line, from the words of its processes."""

import pytest

from edge.operator_page.line_state import LineState, LineWatch, LinkState
from schemas.messages import Output, State, Status, Verdict


def watch() -> LineWatch:
    return LineWatch("inspect", "connect-plant", "runtime-safety", 10.0)


def status(process: str, state: State = State.ACTIVE, reason: str = "") -> Status:
    return Status(process=process, state=state, reason=reason)


def well(line: LineWatch, now_s: float, connect: Status | None = None) -> LineWatch:
    line.status(connect or status("connect-plant"), now_s)
    line.status(status("runtime-safety"), now_s)
    return line


def test_parts_pass_or_they_do_not() -> None:
    line = well(watch(), 100.0)
    assert (line.now(100).state, line.now(100).why) == (LineState.STOPPED, "no part yet")
    line.result(101)
    assert line.now(102).state is LineState.RUNNING
    assert line.now(108).since_s == 102
    well(line, 112)
    assert (line.now(112).state, line.now(112).since_s) == (LineState.STOPPED, 112)


@pytest.mark.parametrize(
    ("reason", "state", "link", "why"),
    [
        ("inspect: fail-safe: no decision for 500 ms", LineState.FAILSAFE, LinkState.UP, "no decision for 500 ms"),
        ("other: fail-safe: started", LineState.RUNNING, LinkState.UP, ""),
        ("inspect: fail-safe: manual, by the PLC", LineState.MANUAL, LinkState.UP, "the operator's"),
        ("timed out after 300 ms", LineState.FAILSAFE, LinkState.LOST, "plant: timed out after 300 ms"),
        ("other: fail-safe: x; inspect: fail-safe: y", LineState.FAILSAFE, LinkState.UP, "y"),
    ],
)
def test_the_status_of_connect_is_read_as_it_is_written(
    reason: str, state: LineState, link: LinkState, why: str
) -> None:
    line = well(watch(), 100.0, status("connect-plant", State.DEGRADED, reason))
    line.result(100.0)
    found = line.now(101.0)
    assert (found.state, found.link.state) == (state, link)
    assert why in found.why


def test_who_is_silent_or_gone_is_named() -> None:
    line = watch()
    line.result(100)
    assert line.now(100).link.state is LinkState.UNKNOWN
    well(line, 100.0)
    line.status(status("runtime-safety", State.STOPPED, "connection lost"), 101)
    line.status(status("connect-plant"), 101)
    assert line.now(101).state is LineState.FAILSAFE
    assert "runtime-safety stopped: connection lost" in line.now(101).why
    assert line.now(130).link.state is LinkState.LOST
    assert "silent for 29 s" in line.now(130).why


def test_manual_outputs_make_a_manual_line() -> None:
    line = well(watch(), 100.0)
    line.result(100)
    line.output(
        Output(
            pipeline="inspect", result_id="r", part_id=1, verdict=Verdict.OK, failsafe=False, actuate_ms=1, total_ms=2,
            late=False, time_ns=1, manual=True,
        )
    )  # fmt: skip
    assert line.now(101).state is LineState.MANUAL


def test_a_pipeline_without_outputs_has_no_link() -> None:
    line = LineWatch("gear", "", "runtime-bulk", 10.0)
    line.status(status("runtime-bulk"), 100)
    line.result(100)
    assert (line.now(101).state, line.now(101).link.state) == (LineState.RUNNING, LinkState.NONE)
