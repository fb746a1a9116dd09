"""What is made of samples, messages and a person's answers."""

import time
from pathlib import Path

import pytest
from msgspec import structs

from edge.commissioning.guided import targets
from edge.commissioning.guided_row import Seen, figures_of, trace_of
from edge.commissioning.heard import Heard, Told
from edge.commissioning.plc_watch import Sample, longest_gap_ms, stands_since
from edge.commissioning.plc_watch import trace_of as picture_of
from edge.commissioning.programs import write_programs
from edge.commissioning.record import Mark, Verdict, judged
from edge.commissioning.signals import signals_row
from edge.commissioning.steps import STEPS
from edge.plc.tags.lists import source_tags
from edge.settings import load_settings
from schemas.messages import Event, Outcome, Output, Phase, Quality, Reading, Result, Severity
from schemas.messages import Latency as Parts
from schemas.messages import Sample as Value
from schemas.messages import Verdict as Said
from tests.conftest import ROOT

HOME = ROOT / "edge" / "sim" / "demo"
DEMO = load_settings(HOME)
PIPELINE = "cap_inspection"
STEP = {step.key: step for step in STEPS}


def sample(at: float, *, armed: bool = True, tripped: bool = False, reject: bool = False, passes: int = 0) -> Sample:
    return Sample(at, armed, tripped, reject, 0, passes)


def test_the_plc_is_safe_when_its_watchdog_has_tripped_or_the_fail_safe_stands_unarmed() -> None:
    assert not sample(0).safe and not sample(0, reject=True).safe, "armed, the next verdict may pass a part"
    assert not sample(0, armed=False).safe, "the coil still passes"
    assert sample(0, armed=False, reject=True).safe and sample(0, tripped=True).safe
    assert "watchdog tripped" in sample(0, tripped=True).how


def test_samples_become_spans_and_passed_parts_moments() -> None:
    held = [sample(9.9), sample(10.1, passes=2), sample(10.5, tripped=True, passes=2), sample(11.0, passes=2)]
    trace = picture_of(held, 10.0, 10.4, [Mark(at_s=0.6, text="limit")])
    lanes = {lane.name: lane.spans for lane in trace.lanes}
    assert lanes["fault"] == [(0.0, 0.4)] and lanes["PLC watchdog tripped"] == [(0.5, 1.0)]
    assert trace.passed == [0.1, 0.1] and trace.from_s == -0.1
    assert longest_gap_ms(held) == pytest.approx(500.0)
    assert picture_of([], 0.0, 0.0, []).passed == []


def test_what_counts_is_since_when_the_plc_stands_at_its_fail_safe_for_good() -> None:
    free, safe = sample(1.0), [sample(at, tripped=True) for at in (0.5, 2.0, 3.0)]
    assert stands_since([sample(0.0), safe[0], free, safe[1], safe[2]]) == safe[1], "a late heartbeat ended the first"
    assert stands_since(safe) == safe[0]
    assert stands_since([*safe, free]) is None and stands_since([]) is None


def output(part: int, verdict: Said = Said.OK, *, failsafe: bool = False, late: bool = False) -> Output:
    return Output(pipeline=PIPELINE, result_id=f"r{part}", part_id=part, verdict=verdict, failsafe=failsafe,
                  actuate_ms=1.0, total_ms=5.0, late=late, time_ns=0)  # fmt: skip


def result(part: int, verdict: Said = Said.OK, outcome: Outcome = Outcome.RESULT) -> Result:
    return Result(
        result_id=f"r{part}", pipeline=PIPELINE, input="cam1", source_epoch=1, source_seq=part, part_id=part,
        outcome=outcome, verdict=verdict, label="", score=1.0, scores={}, quality=Quality.GOOD, reason="",
        latency=Parts(ingest=0, queue=0, preprocess=0, infer=0, total=0), deadline_ms=50, model="m", version="1",
        digest="d", time_ns=0,
    )  # fmt: skip


def test_a_part_may_pass_by_a_fresh_ok_alone_and_the_plcs_answer_counts_before_the_models_word() -> None:
    heard = Heard(DEMO)
    for part, made in enumerate(
        [
            output(0),
            output(1, Said.NOK),
            output(2, failsafe=True),
            output(3, late=True),
            output(4, Said.UNKNOWN, failsafe=True),
        ]
    ):
        heard.output(made)
        assert heard.may_pass(PIPELINE, part) is (part in (0, 3))
    heard.result(result(10))
    heard.result(result(11, outcome=Outcome.LATE))
    heard.result(result(12))
    heard.output(output(12, failsafe=True))
    assert [heard.may_pass(PIPELINE, part) for part in (10, 11, 12, 99)] == [True, False, False, None]
    assert heard.models[PIPELINE].digest == "d"


def reading(seq: int, *, group: str = "fast", epoch: int = 1, **tags: Value) -> Reading:
    named = {name.replace("_", "."): value for name, value in tags.items()}
    return Reading(source="plant", group=group, boot="b", scan_ns=seq * 20_000_000, scan_ms=1.0, time_ns=0, tags=named,
                   epoch=epoch, seq=seq)  # fmt: skip


def test_a_reading_that_never_came_is_no_jitter() -> None:
    heard = Heard(DEMO)
    heard.begin_measuring()
    for seq in (1, 2, 3, 9, 10):
        heard.reading(reading(seq, Plc_Rearm=Value(value=False)))
    found = heard.scans["plant", "fast"].found()
    assert found.count == 5 and found.jitter_max_ms == 0.0


def test_bad_tags_moves_and_a_rising_reset_are_noted() -> None:
    heard = Heard(DEMO, clock=lambda: 50.0)
    heard.begin_measuring()
    heard.reading(reading(1, Plc_Rearm=Value(value=False)))
    heard.reading(reading(2, Plc_Rearm=Value(value=True)))
    assert heard.rose["plant", "Plc.Rearm"] == pytest.approx(0.04) and heard.moves["plant", "Plc.Rearm"] == 1
    assert heard.good["plant"] == pytest.approx(0.04) and not heard.bad["plant"]
    heard.reading(reading(3, Plc_Rearm=Value(quality=Quality.BAD, reason="gone")))
    assert heard.bad["plant"] == 50.0 and heard.good["plant"] == pytest.approx(0.04)
    assert heard.value("plant", "Plc.Rearm") is None and heard.moves["plant", "Plc.Rearm"] == 1


def test_tags_that_stand_still_or_are_stuck_fail_their_row() -> None:
    heard = Heard(DEMO)
    heard.begin_measuring()

    def read(seq: int, beat: int, *, stuck: bool = False) -> None:
        heard.reading(reading(2 * seq, Plc_Rearm=Value(value=stuck)))
        heard.reading(
            reading(2 * seq + 1, group="process", Eject_Reject=Value(value=True), Edge_Armed=Value(value=True),
                    Eject_PartId=Value(value=seq), Edge_Heartbeat=Value(value=beat))
        )  # fmt: skip

    outputs = DEMO.outputs[PIPELINE]
    assert signals_row(PIPELINE, outputs, heard, 1).verdict is Verdict.SKIPPED, "nothing was read"
    for seq in range(5):
        read(seq, seq)
    assert signals_row(PIPELINE, outputs, heard, 1).verdict is Verdict.PASS
    read(6, 6, stuck=True)
    assert signals_row(PIPELINE, outputs, heard, 1).verdict is Verdict.FAIL
    heard.begin_measuring()
    for seq in range(7, 10):
        read(seq, 6)
    assert signals_row(PIPELINE, outputs, heard, 1).verdict is Verdict.FAIL
    bare = outputs.model_copy(update={"heartbeat": ""})
    assert "the PLC does not notice a dead device" in signals_row(PIPELINE, bare, heard, 1).note


def told(at: float) -> Told:
    event = Event(key="k", origin="connect-plant", code="failsafe", phase=Phase.NEW, severity=Severity.ALARM, text="t",
                  args={"reason": "gone", "pipeline": PIPELINE}, time_ns=0)  # fmt: skip
    return Told(at, event)


def seen(**changed: object) -> Seen:
    whole = {"begun": 1.0, "sign": 10.0, "latched": told(10.3), "latched_at": 10.3, "mended": 15.0, "stayed": True,
             "safe_tags": True, "released": told(20.1), "pressed": 20.0, "rejected": True}  # fmt: skip
    return Seen(**whole | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("changed", "verdict"), [
    ({}, Verdict.PASS), ({"latched_at": 10.5}, Verdict.FAIL), ({"stayed": False}, Verdict.FAIL),
    ({"spoke": True}, Verdict.FAIL), ({"safe_tags": False}, Verdict.FAIL), ({"safe_tags": None}, Verdict.PASS),
    ({"mended": None}, Verdict.FAIL), ({"released": None}, Verdict.FAIL), ({"released": told(21.5)}, Verdict.FAIL),
    ({"rejected": False}, Verdict.FAIL), ({"rejected": None}, Verdict.SKIPPED),
    ({"latched": None, "latched_at": None}, Verdict.FAIL),
])  # fmt: skip
def test_a_guided_step_passes_only_where_all_of_it_was_seen(changed: dict[str, object], verdict: Verdict) -> None:
    (target,) = targets(DEMO, STEP["cable"])
    assert judged(figures_of(STEP["cable"], target, seen(**changed))) is verdict


def test_a_process_that_is_back_before_the_lease_ends_disturbs_nobody() -> None:
    (target,) = targets(DEMO, STEP["runtime"])
    assert target.unit == "plantedge@runtime@safety" and target.process == "runtime-safety"
    gone = seen(latched=None, latched_at=None)
    assert judged(figures_of(STEP["runtime"], target, gone)) is Verdict.SKIPPED, "no part came that would show it"
    assert judged(figures_of(STEP["connect"], target, gone)) is Verdict.FAIL, "connect begins with the fail-safe"
    gone.went_on = True
    assert judged(figures_of(STEP["runtime"], target, gone)) is Verdict.PASS


def test_parts_went_on_only_if_one_was_triggered_after_and_acknowledged_in_time() -> None:
    now = time.time_ns()
    heard = Heard(DEMO, clock=lambda: 100.0)
    for ago_s, total_ms, failsafe in ((0.5, 5.0, False), (0.2, 400.0, False), (0.1, 5.0, True)):
        made = output(1, failsafe=failsafe)
        heard.output(structs.replace(made, time_ns=now - int(ago_s * 1e9), total_ms=total_ms))
    assert heard.went_on(PIPELINE, 99.4, 0.3) and not heard.went_on(PIPELINE, 99.4, 0.05), "acknowledged 0.1 s after it"
    assert not heard.went_on(PIPELINE, 99.6, 0.6), "its trigger was before"
    assert not heard.went_on("other", 99.4, 0.3)


def test_a_guided_trace_begins_at_the_sign() -> None:
    trace = trace_of(seen(), 30.0)
    assert trace is not None and {lane.name: lane.spans for lane in trace.lanes} == {
        "fault, as seen": [(0.0, 5.0)], "fail-safe latched": [(0.3, 10.1)],
    }  # fmt: skip
    assert trace_of(Seen(begun=1.0), 30.0) is None


def test_programs_are_written_in_the_languages_of_the_sources_driver(tmp_path: Path) -> None:
    tags = source_tags(DEMO, HOME)
    assert {one.language for one in write_programs(tmp_path, DEMO, tags)} == {"structured text", "ladder"}
    siemens = DEMO.model_copy(update={"sources": {"plant": DEMO.sources["plant"].model_copy(update={"driver": "s7"})}})
    found = write_programs(tmp_path, siemens, tags)
    assert {one.file for one in found} == {
        "plc-programs/cap_inspection.scl", "plc-programs/cap_inspection.ladder.txt",
    }  # fmt: skip
    assert 'DATA_BLOCK "DB_Edge"' in (tmp_path / "plc-programs/cap_inspection.scl").read_text()
