"""The pipeline's core with real models and a clock that the test holds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.pipeline import DecisionRule, FrameInput, WindowInput
from edge.config.pipeline import Pipeline as PipelineSettings
from edge.engines import load_engine
from edge.inference.pipeline import Pipeline
from edge.inference.queue import QUEUE_BATCHES
from edge.models.loaded import load_model
from schemas.errors import ContractError
from schemas.messages import Frame, Outcome, Proof, Quality, Reading, Sample, Verdict
from tests.edge.small_models import LENGTH, SHAPE, TAGS, write_anomaly, write_classifier

BOOT, MS = "thisboot", 1_000_000
BLACK, WHITE = 0, 255


class Clock:
    """CLOCK_MONOTONIC in the test's hand; `run_ms` passes at each look."""

    def __init__(self, now_ms=1_000):
        self.now_ns, self.run_ms = now_ms * MS, 0.0

    def __call__(self):
        self.now_ns += int(self.run_ms * MS)
        return self.now_ns


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    cpu = load_engine("cpu")
    return {
        "caps": load_model(write_classifier(folder), cpu),
        "inverted": load_model(write_classifier(folder, version="2", inverted=True), cpu),
        "fragile": load_model(write_classifier(folder, version="3", not_a_number=True), cpu),
        "large": load_model(write_classifier(folder, version="4", shape=(16, 16, 3)), cpu),
        "drift": load_model(write_anomaly(folder), cpu),
    }


def inspection(clock, model=None, **settings):
    rule = DecisionRule(reject=["bad"], threshold=0.5)
    defaults = {"model": "caps", "input": FrameInput(frames="cam1"), "deadline_ms": 50, "decision": rule}
    pipeline = Pipeline("inspect", PipelineSettings(**(defaults | settings)), BOOT, clock)
    if model:
        pipeline.use(model)
    return pipeline


def frame(brightness=BLACK, *, at=1_000, seq=1, **fields):
    defaults = {
        "stream": "cam1", "part_id": 100 + seq, "boot": BOOT, "trigger_ns": at * MS, "time_ns": 0, "shape": SHAPE,
        "dtype": "uint8", "data": memoryview(np.full(SHAPE, brightness, np.uint8).tobytes()), "epoch": 7, "seq": seq,
    }  # fmt: skip
    return Frame(**(defaults | fields))


def only(answers):
    (answer,) = answers
    return answer


def run(pipeline, *frames):
    answers = [pipeline.offer_frame(one, one.trigger_ns) for one in frames]
    answers = [answer for answer in answers if answer]
    while pipeline.waiting:
        answers += pipeline.step()
    return answers


@pytest.mark.parametrize(("brightness", "verdict", "label"), [(BLACK, "ok", "ok"), (WHITE, "nok", "bad")])
def test_a_frame_becomes_a_verdict_with_its_whole_identity(models, brightness, verdict, label):
    decision, result, *_ = only(run(inspection(Clock(), models["caps"]), frame(brightness, seq=5)))
    assert (decision.verdict, decision.proof, decision.part_id) == (verdict, Proof.PART, 105)
    assert decision.result_id == result.result_id == "inspect-7-5"
    assert (decision.trigger_ns, decision.deadline_ns) == (1_000 * MS, 1_050 * MS)
    assert (result.outcome, result.verdict, result.label, result.quality) == ("result", verdict, label, "good")
    assert result.scores == pytest.approx({"ok": 1 - brightness / 255, "bad": brightness / 255})
    assert (result.model, result.version, result.digest) == ("caps", "1", models["caps"].contract.sha256)


@pytest.mark.parametrize(("brightness", "verdict"), [(127, "ok"), (128, "nok")])
def test_the_threshold_itself_rejects(models, brightness, verdict):
    decision, _, *_ = only(run(inspection(Clock(), models["caps"]), frame(brightness)))
    assert decision.verdict == verdict


def test_latency_is_told_in_parts(models):
    clock = Clock()
    pipeline = inspection(clock, models["caps"])
    pipeline.offer_frame(frame(at=997), 1_000 * MS)
    clock.run_ms = 2.0
    _, result, *_ = only(pipeline.step())
    latency = result.latency
    assert (latency.ingest, latency.queue, latency.preprocess, latency.infer) == (3.0, 2.0, 2.0, 2.0)
    assert latency.total == 9.0


def test_a_result_after_its_deadline_is_late_and_decides_nothing(models):
    clock = Clock()
    pipeline = inspection(clock, models["caps"])
    pipeline.offer_frame(frame(BLACK), 1_000 * MS)
    clock.run_ms = 30.0
    decision, result, *_ = only(pipeline.step())
    assert (decision.verdict, decision.reason) == (Verdict.UNKNOWN, "late")
    assert (result.outcome, result.verdict) == (Outcome.LATE, Verdict.OK)


def test_what_has_expired_is_not_run(models):
    clock = Clock()
    pipeline = inspection(clock, models["caps"])
    pipeline.offer_frame(frame(seq=1, at=900), 1_000 * MS)
    pipeline.offer_frame(frame(seq=2, at=1_000), 1_000 * MS)
    expired, fresh = pipeline.step()
    assert (expired.result.outcome, expired.result.reason, expired.decision.verdict) == (
        "dropped",
        "expired",
        "unknown",
    )
    assert (fresh.result.source_seq, fresh.result.outcome) == (2, "result")


def test_the_newest_wins_when_the_queue_is_full(models):
    pipeline = inspection(Clock(), models["caps"], max_batch_size=2)
    limit = 2 * QUEUE_BATCHES
    answers = run(pipeline, *(frame(seq=seq) for seq in range(1, limit + 4)))
    dropped = [a.result.source_seq for a in answers if a.result.reason == "overload"]
    assert dropped == [1, 2, 3]
    assert [a.result.source_seq for a in answers if a.result.outcome == "result"] == list(range(4, limit + 4))


@pytest.mark.parametrize(("waiting", "batches"), [(1, [1]), (3, [2, 1]), (4, [4]), (7, [4, 2, 1]), (9, [4, 4, 1])])
def test_a_batch_is_what_waits_in_a_size_that_is_warm(models, waiting, batches):
    pipeline = inspection(Clock(), models["caps"])
    for seq in range(1, waiting + 1):
        pipeline.offer_frame(frame(WHITE if seq % 2 else BLACK, seq=seq), 1_000 * MS)
    found = []
    while pipeline.waiting:
        found.append(pipeline.step())
    assert [len(answers) for answers in found] == batches
    flat = [answer.result for answers in found for answer in answers]
    assert [r.source_seq for r in flat] == list(range(1, waiting + 1))
    assert [r.verdict for r in flat] == ["nok" if r.source_seq % 2 else "ok" for r in flat]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"boot": "another"}, "bad_input: its trigger is a time of another boot"),
        ({"trigger_ns": 2**63}, "bad_input: its trigger lies in the future"),
        ({"quality": Quality.BAD, "reason": "dark"}, "bad_quality: dark"),
        ({"shape": (8, 3, 8)}, "bad_input: uint8 (8, 3, 8)"),
        ({"dtype": "int8"}, "bad_input: int8"),
        ({"data": memoryview(b"short")}, "bad_input: uint8 (8, 8, 3) in 5 bytes"),
    ],
)
def test_a_frame_that_can_not_be_run_is_answered_with_its_reason(models, fields, reason):
    pipeline = inspection(Clock(), models["caps"])
    decision, result, *_ = pipeline.offer_frame(frame(**fields), 1_000 * MS)
    assert result.reason.startswith(reason)
    assert (result.outcome, result.verdict, result.quality) == ("dropped", "unknown", "bad")
    assert (decision.verdict, decision.part_id, decision.boot) == ("unknown", 101, BOOT)
    assert decision.trigger_ns <= 1_000 * MS
    assert pipeline.waiting == 0


def test_without_a_model_every_part_is_unknown():
    decision, result, *_ = only(run(inspection(Clock()), frame()))
    assert (decision.verdict, result.reason, result.model) == ("unknown", "no_model", "caps")


def test_a_score_that_is_no_number_is_unknown(models):
    pipeline = inspection(Clock(), models["fragile"])
    decision, result, *_ = only(run(pipeline, frame(BLACK)))
    assert (decision.verdict, result.verdict, result.quality, result.score) == ("unknown", "unknown", "bad", 0.0)
    assert result.reason.startswith("bad_output")
    assert only(run(pipeline, frame(WHITE))).decision.verdict == "nok"


class Broken:
    """A session whose output has lost its shape."""

    concurrent = True

    def __init__(self, outputs):
        self.outputs = outputs

    def run(self, batch):
        if self.outputs is None:
            raise ContractError(["the accelerator is gone"])
        return self.outputs

    def close(self):
        pass


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"probabilities": np.ones((1, 3))}, "bad_output: shape (1, 3)"),
        ({"probabilities": np.ones((2, 2))}, "bad_output"),
        (None, "engine_failed: the accelerator is gone"),
    ],
)
def test_an_engine_that_breaks_its_promise_decides_nothing(models, outputs, reason):
    from dataclasses import replace

    pipeline = inspection(Clock(), replace(models["caps"], session=Broken(outputs)))
    decision, result, *_ = only(run(pipeline, frame()))
    assert decision.verdict == "unknown"
    assert result.reason.startswith(reason)
    assert pipeline.selftest() is None


def test_a_self_test_renews_the_lease_and_names_no_part(models):
    decision = inspection(Clock(), models["caps"]).selftest()
    assert (decision.proof, decision.part_id, decision.deadline_ns) == (Proof.SELFTEST, None, 1_050 * MS)


def test_a_model_whose_golden_vector_fails_is_not_believed_until_it_holds_again(models):
    from dataclasses import replace

    wrong = replace(models["caps"], session=models["inverted"].session)
    pipeline = inspection(Clock(), wrong)
    assert pipeline.selftest() is None
    assert "golden vector" in pipeline.unproven
    decision, result, *_ = only(run(pipeline, frame(BLACK)))
    assert (decision.verdict, result.quality) == ("unknown", "bad")
    pipeline.use(models["caps"])
    assert only(run(pipeline, frame(BLACK))).decision.verdict == "ok"


def test_a_swap_between_batches_leaves_nothing_unanswered(models):
    pipeline = inspection(Clock(), models["caps"], max_batch_size=1)
    for seq in (1, 2, 3):
        pipeline.offer_frame(frame(WHITE, seq=seq), 1_000 * MS)
    first = only(pipeline.step())
    assert pipeline.use(models["inverted"]) == []
    rest = [only(pipeline.step()) for _ in range(2)]
    assert [a.result.verdict for a in [first, *rest]] == ["nok", "ok", "ok"]
    assert [a.result.version for a in [first, *rest]] == ["1", "2", "2"]


def test_what_waits_for_a_model_of_another_shape_is_answered(models):
    pipeline = inspection(Clock(), models["caps"])
    pipeline.offer_frame(frame(seq=1), 1_000 * MS)
    answer = only(pipeline.use(models["large"]))
    assert (answer.decision.verdict, answer.result.reason.partition(":")[0]) == ("unknown", "bad_input")
    assert pipeline.waiting == 0


def test_a_model_without_the_label_to_reject_does_not_fit(models):
    pipeline = inspection(Clock(), decision=DecisionRule(reject=["scratch"]))
    (problem,) = pipeline.problems_of(models["caps"])
    assert "no label scratch" in problem
    with pytest.raises(ContractError):
        pipeline.use(models["caps"])


# --- windows of readings ---------------------------------------------------------------------------------------------


def watch(clock, model=None, **settings):
    spec = WindowInput(source="plant", group="slow", tags=list(TAGS), length=LENGTH, every=settings.pop("every", 1))
    rule = DecisionRule(threshold=1.0, clear=0.8)
    defaults = {"model": "drift", "input": spec, "deadline_ms": 500, "decision": rule}
    pipeline = Pipeline("watch", PipelineSettings(**(defaults | settings)), BOOT, clock)
    if model:
        pipeline.use(model)
    return pipeline


def reading(seq, *values, **fields):
    samples = [value if isinstance(value, Sample) else Sample(value=value) for value in values]
    defaults = {
        "source": "plant", "group": "slow", "boot": BOOT, "scan_ns": seq * 100 * MS, "scan_ms": 1.0, "time_ns": 0,
        "tags": dict(zip(TAGS, samples, strict=False)), "epoch": 9, "seq": seq,
    }  # fmt: skip
    return Reading(**(defaults | fields))


def feed(pipeline, clock, *readings):
    answers = []
    for one in readings:
        clock.now_ns = max(clock.now_ns, one.scan_ns)
        answer = pipeline.offer_reading(one, clock.now_ns)
        answers += [answer] if answer else []
        answers += pipeline.step()
    return answers


def test_a_window_is_the_last_readings_in_the_order_of_the_tags(models):
    clock = Clock(0)
    answers = feed(watch(clock, models["drift"]), clock, *(reading(n, float(n), 0.0) for n in range(1, 7)))
    assert [a.result.source_seq for a in answers] == [4, 5, 6]
    assert [a.result.score for a in answers] == pytest.approx([1.25, 1.75, 2.25])
    assert all(a.result.part_id is None and a.result.quality == "good" for a in answers)


def test_every_nth_reading_makes_a_window(models):
    clock = Clock(0)
    answers = feed(watch(clock, models["drift"], every=3), clock, *(reading(n, 0, 0) for n in range(1, 12)))
    assert [a.result.source_seq for a in answers] == [4, 7, 10]


def test_a_request_of_the_plc_makes_a_window_each_time_that_it_rises(models):
    clock = Clock(0)
    spec = WindowInput(source="plant", group="slow", tags=list(TAGS), length=LENGTH, request="Plc.Request")
    bits = [True, False, False, False, False, True, True, None, True, False, True]
    readings = []
    for number, bit in enumerate(bits, 1):
        asked = Sample(quality=Quality.BAD, reason="timeout") if bit is None else Sample(value=bit)
        one = reading(number, 0.0, 0.0)
        readings.append(reading(number, 0.0, 0.0, tags=one.tags | {"Plc.Request": asked}))
    answers = feed(watch(clock, models["drift"], input=spec), clock, *readings)
    assert [a.result.source_seq for a in answers] == [6, 11], "the first came before the window was full"


def test_readings_of_other_groups_and_repeats_do_not_count(models):
    clock = Clock(0)
    readings = [reading(n, 0, 0) for n in range(1, 5)]
    other = reading(3, 0, 0, group="fast", scan_ns=350 * MS)
    answers = feed(watch(clock, models["drift"]), clock, *readings[:3], other, readings[2], readings[3])
    assert [a.result.source_seq for a in answers] == [4]


def test_an_anomaly_ends_under_the_lower_threshold_only(models):
    clock = Clock(0)
    levels = [0.0] * 4 + [2.0] * 4 + [0.9] * 4 + [0.5] * 4
    answers = feed(watch(clock, models["drift"]), clock, *(reading(n, v, v) for n, v in enumerate(levels, 1)))
    by_seq = {a.result.source_seq: (round(a.result.score, 3), a.result.verdict.value) for a in answers}
    assert by_seq[4] == (0.0, "ok")
    assert by_seq[8] == (2.0, "nok")
    assert by_seq[12] == (0.9, "nok")
    assert by_seq[16] == (0.5, "ok")


BAD = Sample(value=0.1, quality=Quality.BAD, reason="timeout")


def test_skip_refuses_each_window_that_holds_a_bad_value(models):
    clock = Clock(0)
    values = [0, 0, 0, 0, BAD, 0, 0, 0, 0]
    answers = feed(watch(clock, models["drift"]), clock, *(reading(n, v, 0) for n, v in enumerate(values, 1)))
    assert [a.result.outcome.value for a in answers] == ["result"] + ["dropped"] * 4 + ["result"]
    bad = answers[1]
    assert (bad.decision.verdict, bad.result.verdict, bad.result.quality) == ("unknown", "unknown", "bad")
    assert bad.result.reason == "bad_quality: Line.Speed bad in 1 of 4 readings (timeout)"


def test_hold_takes_the_last_good_value_and_says_that_it_is_uncertain(models):
    clock = Clock(0)
    values = [0.5, 0.5, 0.5, 0.5, BAD]
    answers = feed(
        watch(clock, models["drift"], bad_input="hold"), clock, *(reading(n, v, 0.5) for n, v in enumerate(values, 1))
    )
    assert answers[-1].result.score == pytest.approx(0.5)
    assert (answers[-1].result.quality, answers[-1].result.reason) == ("uncertain", "Line.Speed held (timeout)")


def test_hold_ends_when_nothing_in_the_window_is_measured_any_more(models):
    clock = Clock(0)
    values = [0.5] * 4 + [BAD] * 4
    answers = feed(
        watch(clock, models["drift"], bad_input="hold"), clock, *(reading(n, v, 0) for n, v in enumerate(values, 1))
    )
    assert [a.result.quality.value for a in answers] == ["good", "uncertain", "uncertain", "uncertain", "bad"]
    assert answers[-1].result.outcome == "dropped"


def test_a_source_that_started_again_begins_a_new_window(models):
    clock = Clock(0)
    readings = [reading(n, 0, 0) for n in range(1, 4)] + [reading(n, 0, 0, epoch=10) for n in range(4, 8)]
    answers = feed(watch(clock, models["drift"]), clock, *readings)
    assert [a.result.source_seq for a in answers] == [7]


def test_readings_at_another_rate_than_the_models_are_uncertain(models, tmp_path):
    clock = Clock(0)
    slower = load_model(write_anomaly(tmp_path, sample_s=1.0), load_engine("cpu"))
    answers = feed(watch(clock, slower), clock, *(reading(n, 0, 0) for n in range(1, 5)))
    assert answers[0].result.quality == "uncertain"
    assert "spans 0.30 s, the model expects 3.00 s" in answers[0].result.reason
    steady = feed(watch(clock, slower), clock, *(reading(n, 0, 0, scan_ns=n * 1_000 * MS) for n in range(1, 5)))
    assert steady[0].result.quality == "good"


def test_values_that_the_model_does_not_know_are_uncertain(models):
    clock = Clock(0)
    answers = feed(watch(clock, models["drift"]), clock, *(reading(n, 0, 500.0 * (n == 4)) for n in range(1, 10)))
    assert [a.result.quality.value for a in answers] == ["uncertain"] * 4 + ["good"] * 2
    assert answers[0].result.reason == "Motor.Temperature is 500, the model knows 0 to 100 1"


samples = st.builds(
    Sample,
    value=st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.booleans(), st.none(), st.text(max_size=3)),
    quality=st.sampled_from(list(Quality)),
)
rows = st.lists(st.tuples(samples, samples), min_size=LENGTH, max_size=3 * LENGTH)


@given(rows=rows, policy=st.sampled_from(["hold", "skip"]), missing=st.sets(st.integers(0, 11)))
def test_a_bad_input_never_makes_a_good_result(models, rows, policy, missing):
    clock = Clock(0)
    pipeline = watch(clock, models["drift"], bad_input=policy)
    readings = [reading(n, *(row[:1] if n in missing else row)) for n, row in enumerate(rows, 1)]
    for answer in feed(pipeline, clock, *readings):
        end = answer.result.source_seq
        window = readings[end - LENGTH : end]
        cells = [one.tags.get(tag) for one in window for tag in TAGS]
        usable = [
            cell is not None and isinstance(cell.value, bool | int | float) and math.isfinite(cell.value)
            and cell.quality is not Quality.BAD
            for cell in cells
        ]  # fmt: skip
        if not all(usable):
            assert answer.result.quality is not Quality.GOOD
            if policy == "skip":
                assert answer.result.outcome is Outcome.DROPPED
                assert answer.decision.verdict is Verdict.UNKNOWN
        elif any(cell.quality is Quality.UNCERTAIN for cell in cells):
            assert answer.result.quality is not Quality.GOOD
        if answer.result.quality is Quality.BAD:
            assert answer.decision.verdict is Verdict.UNKNOWN
        assert math.isfinite(answer.result.score)


@given(
    boot=st.sampled_from([BOOT, "other"]), trigger_ms=st.integers(0, 2_000), quality=st.sampled_from(list(Quality)),
    size=st.sampled_from([192, 191, 0]), dtype=st.sampled_from(["uint8", "float32", "object", "garbage"]),
    shape=st.sampled_from([SHAPE, (192,), (), (8, 8, -3)]), loaded=st.booleans(),
)  # fmt: skip
def test_every_frame_has_exactly_one_answer(models, boot, trigger_ms, quality, size, dtype, shape, loaded):
    pipeline = inspection(Clock(), models["caps"] if loaded else None)
    one = frame(
        boot=boot, trigger_ns=trigger_ms * MS, quality=quality, data=memoryview(bytes(size)), dtype=dtype, shape=shape
    )
    answer = pipeline.offer_frame(one, 1_000 * MS)
    answers = ([answer] if answer else []) + pipeline.step()
    decision, result, *_ = only(answers)
    if result.quality is Quality.GOOD:
        assert (boot, quality, size, dtype, shape, loaded) == (BOOT, Quality.GOOD, 192, "uint8", SHAPE, True)
        assert 950 < trigger_ms <= 1_000
    else:
        assert decision.verdict is Verdict.UNKNOWN or quality is Quality.UNCERTAIN
