"""Ready means that data flows: which silence, which state and which drop take it away."""

import pytest

from edge.monitoring.readiness import Answers, Readiness, Reason, window_s
from edge.settings import Settings
from schemas.messages import State, Status

SETTINGS = Settings.model_validate(
    {
        "device": {"site": "s", "line": "l", "node": "n"},
        "sources": {"plc": {"driver": "modbus", "tags": "t.csv", "groups": {"fast": 20.0, "slow": 2000.0}}},
        "pipelines": {
            "inspect": {"model": "caps", "lane": "safety", "input": {"frames": "cam1"}, "deadline_ms": 50},
            "watch": {
                "model": "drift", "lane": "bulk", "deadline_ms": 500,
                "input": {"source": "plc", "group": "slow", "tags": ["a"], "length": 4, "every": 5},
            },
        },
    }
)  # fmt: skip
LANES = {"runtime-safety": ["inspect"], "runtime-bulk": ["watch"]}


class Line:
    """A device at one point of time; `step` lets a second pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.judge = Readiness(SETTINGS, ["agent", *LANES], LANES)
        self.answers = {"inspect": Answers(), "watch": Answers()}
        for name in ("agent", *LANES):
            self.says(name, State.ACTIVE)
        self.judge.look(self.answers, self.now_s)

    def says(self, process: str, state: State, reason: str = "") -> None:
        self.judge.status(Status(process=process, state=state, reason=reason), self.now_s)

    def step(self, seconds: float = 1.0, **answered: Answers) -> list[Reason]:
        """Let time pass in which pipelines answer; processes go on speaking."""
        self.now_s += seconds
        self.answers |= answered
        self.judge.look(self.answers, self.now_s)
        return self.why()

    def why(self) -> list[Reason]:
        return self.judge.reasons(self.now_s)


@pytest.fixture
def line() -> Line:
    """A line on which data flows."""
    made = Line()
    assert made.step(inspect=Answers(1), watch=Answers(1)) == []
    return made


def test_nothing_is_ready_before_the_first_result() -> None:
    assert [reason.of for reason in Line().why()] == ["runtime-safety", "runtime-bulk"]


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        (State.DEGRADED, "no PLC", "degraded: no PLC"),
        (State.STOPPED, "connection lost", "stopped: connection lost"),
        (State.STARTING, "", "starting"),
    ],
)
def test_one_process_that_is_not_well_takes_it_away(line: Line, state: State, reason: str, said: str) -> None:
    line.says("agent", state, reason)
    assert line.why() == [Reason("agent", said)]
    line.says("agent", State.IDLE)
    assert line.why() == []


def test_a_process_that_never_spoke_is_named() -> None:
    judge = Readiness(SETTINGS, ["agent", *LANES], LANES)
    assert Reason("agent", "has not spoken") in judge.reasons(0.0)


def test_a_process_that_fell_silent_is_named(line: Line) -> None:
    for _ in range(16):
        for name in LANES:
            line.says(name, State.ACTIVE)
        counted = line.answers["inspect"].results + 1
        reasons = line.step(inspect=Answers(counted), watch=Answers(counted))
    assert reasons == [Reason("agent", "silent for 17 s")]


def test_a_lane_with_input_and_without_results_takes_it_away(line: Line) -> None:
    for _ in range(5):
        assert line.step(watch=Answers(line.answers["watch"].results + 1)) == []
    assert line.step(watch=Answers(99)) == [Reason("runtime-safety", "has input, but no results for 5 s")]
    assert line.step(inspect=Answers(2)) == []


def test_a_lane_without_input_does_not_as_long_as_another_has(line: Line) -> None:
    for _ in range(8):
        line.says("runtime-safety", State.IDLE, "no input for 2 s")
        assert line.step(watch=Answers(line.answers["watch"].results + 1)) == []


def test_a_line_that_stands_still_is_not_ready(line: Line) -> None:
    for name in LANES:
        line.says(name, State.IDLE, "no input for 2 s")
    assert line.step(29.0)[0].text.startswith("silent")
    for name in ("agent", *LANES):
        line.says(name, State.IDLE)
    assert line.step(2.0) == [Reason("device", "no data flows: no lane has input")]


def test_inputs_that_are_all_dropped_are_no_results(line: Line) -> None:
    for count in range(1, 8):
        reasons = line.step(inspect=Answers(1, count), watch=Answers(count + 1))
    assert reasons == [Reason("inspect", "drops its inputs: no result for 5 s")]


def test_a_slow_window_is_waited_for() -> None:
    assert window_s(SETTINGS, SETTINGS.pipelines["inspect"]) == SETTINGS.monitor.window_s == 5.0
    assert window_s(SETTINGS, SETTINGS.pipelines["watch"]) == 3 * 2.0 * 5


def test_a_runtime_that_starts_again_has_to_show_results_again(line: Line) -> None:
    line.judge.look({"watch": Answers(2)}, line.now_s)  # the file of its process is gone
    del line.answers["inspect"]
    assert [reason.of for reason in line.step(watch=Answers(3))] == ["runtime-safety"]
    assert [reason.of for reason in line.step(inspect=Answers(0), watch=Answers(4))] == ["runtime-safety"]
    assert line.step(inspect=Answers(1), watch=Answers(5)) == []


def test_a_device_without_pipelines_is_ready_when_its_processes_are_up() -> None:
    judge = Readiness(SETTINGS, ["agent"], {})
    judge.status(Status(process="agent", state=State.ACTIVE), 0.0)
    assert judge.reasons(1.0) == []


def test_a_pipeline_that_the_plc_asks_is_not_missed_while_nobody_asks() -> None:
    asked = SETTINGS.model_dump(include={"device", "sources", "pipelines"})
    asked["pipelines"]["watch"]["input"]["request"] = "Plc.Request"
    settings = Settings.model_validate(asked)
    judge = Readiness(settings, list(LANES), {"runtime-bulk": ["watch"]})
    for name in LANES:
        judge.status(Status(process=name, state=State.ACTIVE), 1000.0)
    judge.look({"watch": Answers()}, 1000.0)
    assert judge.reasons(1000.0) == []
