"""When a change of settings counts as taken, and when it is given up."""

from edge.config.adoption import COME_UP_S, UNWELL_S, Adoption
from schemas.messages import State, Status


def status(process: str, state: State, version: int, reason: str = "") -> dict[str, Status]:
    return {
        process: Status(
            process=process, state=state, reason=reason, pid=1, boot="b", uptime_s=1.0, rss_mb=1.0, clock_synced=True,
            clock_offset_ms=0.0, config={"mirror": version}, counters={}, time_ns=1,
        )
    }  # fmt: skip


def test_it_is_taken_once_all_run_well_with_it() -> None:
    adoption = Adoption("mirror", 2, {"a", "b"}, 0.0)
    both = status("a", State.ACTIVE, 2) | status("b", State.ACTIVE, 1)
    assert adoption.problems(both, 1.0) is None
    assert adoption.problems(both | status("b", State.IDLE, 2), 2.0) == []


def test_one_that_stops_with_it_fails_at_once_and_says_why() -> None:
    adoption = Adoption("mirror", 2, {"a"}, 0.0)
    assert adoption.problems(status("a", State.STOPPED, 1), 0.1) is None  # it ends with the old values, to start again
    assert adoption.problems(status("a", State.STOPPED, 2, "no sink"), 0.2) == ["a is stopped with it: no sink"]


def test_one_that_stays_degraded_fails_before_the_time_is_over() -> None:
    adoption = Adoption("mirror", 2, {"a"}, 0.0)
    unwell = status("a", State.DEGRADED, 2, "no link")
    assert adoption.problems(unwell, 1.0) is None
    assert adoption.due_s == 1.0 + UNWELL_S
    assert adoption.problems(unwell, 1.0 + UNWELL_S) == ["a is degraded with it: no link"]


def test_one_that_was_degraded_for_a_moment_is_well() -> None:
    adoption = Adoption("mirror", 2, {"a"}, 0.0)
    assert adoption.problems(status("a", State.DEGRADED, 2), 1.0) is None
    assert adoption.problems(status("a", State.STARTING, 2), 1.5) is None
    assert adoption.problems(status("a", State.DEGRADED, 2), 3.9) is None
    assert adoption.problems(status("a", State.ACTIVE, 2), 4.0) == []


def test_one_that_never_comes_is_given_up_with_its_last_words() -> None:
    adoption = Adoption("mirror", 2, {"a", "b"}, 0.0)
    (first, second) = adoption.problems(status("a", State.STARTING, 1), COME_UP_S) or []
    assert first == "a did not come up with it within 15 s; it says starting"
    assert second == "b did not come up with it within 15 s"
