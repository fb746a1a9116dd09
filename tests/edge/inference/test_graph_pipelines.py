"""Pipelines of several steps, joined tags, recipes and policies, with real models and a clock that the test holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.pipeline import DecisionRule
from edge.config.pipeline import Pipeline as PipelineSettings
from edge.engines import load_engine
from edge.inference.pipeline import Pipeline
from edge.models.loaded import load_model
from schemas.errors import ContractError
from schemas.messages import Frame, Outcome, Quality, Reading, Sample, Verdict
from tests.edge.small_models import SHAPE, TAGS, write_anomaly, write_classifier, write_detector, write_fused

BOOT, MS = "thisboot", 1_000_000
TRAY = (24, 40, 3)
RULE = {"reject": ["bad"], "threshold": 0.6}
STEPS = [
    {"name": "find", "model": "finder"},
    {"name": "boxes", "op": "nms", "options": {"score": 0.3, "iou": 0.5, "max": 6}},
    {"name": "crops", "op": "crop", "takes": ["input", "boxes"], "options": {"size": [8, 8], "scale": "keep"}},
    {"name": "judge", "model": "caps", "takes": ["crops"]},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder, cpu = tmp_path_factory.mktemp("models"), load_engine("cpu")
    return {
        "finder": load_model(write_detector(folder, shape=TRAY), cpu),
        "caps": load_model(write_classifier(folder), cpu),
        "dark": load_model(write_classifier(folder, "dark", inverted=True), cpu),
        "fused": load_model(write_fused(folder), cpu),
        "drift": load_model(write_anomaly(folder, length=8), cpu),
    }


def pipeline(models, *names, now_ms=1_000, **settings):
    wanted = {"input": {"frames": "cam1"}, "deadline_ms": 50, "decision": RULE} | settings
    made = Pipeline("p", PipelineSettings.model_validate(wanted), BOOT, lambda: now_ms * MS)
    for name in names:
        made.use(models[name])
    return made


def frame(picture, seq=1, at=1_000, **fields):
    array = np.ascontiguousarray(picture)
    defaults = {
        "stream": "cam1", "part_id": seq, "boot": BOOT, "trigger_ns": at * MS, "time_ns": 0, "shape": array.shape,
        "dtype": "uint8", "data": memoryview(array.tobytes()), "epoch": 7, "seq": seq,
    }  # fmt: skip
    return Frame(**(defaults | fields))


def reading(at_ms, source="plant", epoch=3, **tags):
    samples = {name.replace("_", "."): v if isinstance(v, Sample) else Sample(value=v) for name, v in tags.items()}
    return Reading(source=source, group="fast", boot=BOOT, scan_ns=int(at_ms * MS), scan_ms=1, time_ns=0, tags=samples,
                   epoch=epoch, seq=int(at_ms))  # fmt: skip


def tray(*levels):
    """A dark tray with a part of each brightness, in cells of the detector."""
    picture = np.zeros(TRAY, np.uint8)
    for index, level in enumerate(levels):
        row, column = divmod(index, 5)
        picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = level
    return picture


def answer_of(made, *frames):
    answers = [taken for one in frames if (taken := made.offer_frame(one, 1_000 * MS))]
    while made.waiting:
        answers += made.step()
    return answers


@pytest.mark.parametrize(
    ("levels", "verdict", "rows"),
    [((100, 120), "ok", 2), ((100, 200, 120), "nok", 3), ((), "unknown", 0), ((90, 91, 92, 93, 94, 250), "nok", 6)],
)
def test_what_is_found_is_judged_and_one_bad_thing_rejects_the_picture(models, levels, verdict, rows):
    made = pipeline(models, "finder", "caps", steps=STEPS)
    (answer,) = answer_of(made, frame(tray(*levels)))
    assert answer.decision.verdict == verdict
    assert len(answer.outputs["judge.probabilities"]) == len(answer.outputs["boxes.boxes"]) == rows
    if verdict == "unknown":
        assert (answer.result.quality, answer.result.reason) == (Quality.BAD, "nothing_found")
    assert (answer.result.model, answer.result.digest) == ("caps", models["caps"].contract.sha256)
    finder = models["finder"].contract
    assert answer.result.models["finder"] == f"{finder.version} {finder.sha256}"


def test_an_empty_tray_can_be_fine(models):
    made = pipeline(models, "finder", "caps", steps=STEPS, decision=RULE | {"empty": "ok"})
    assert answer_of(made, frame(tray()))[0].decision.verdict is Verdict.OK


def test_a_graph_that_finds_things_takes_one_input_at_a_time_and_answers_each(models):
    made = pipeline(models, "finder", "caps", steps=STEPS)
    answers = answer_of(made, *(frame(tray(100, 250 * (seq % 2)), seq) for seq in range(1, 6)))
    assert [(a.result.source_seq, a.batch) for a in answers] == [(seq, 1) for seq in range(1, 6)]
    assert [a.decision.verdict.value for a in answers] == ["nok", "ok", "nok", "ok", "nok"]


def test_it_serves_when_its_last_model_is_there(models):
    made = pipeline(models, "caps", steps=STEPS)
    assert answer_of(made, frame(tray(100)))[0].result.reason == "no_model"
    made.use(models["finder"])
    assert answer_of(made, frame(tray(100)))[0].result.outcome is Outcome.RESULT


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"name": "a", "op": "rms"}], "the last step (a) must be a model"),
        ([{"name": "a", "model": "caps", "takes": ["later"]}], "before it there are input"),
        ([{"name": "a", "model": "caps"}, {"name": "a", "model": "caps"}], "two steps are named 'a'"),
        ([{"name": "a", "model": "caps", "op": "nms"}], "either a `model` or an `op`"),
        ([{"name": "input", "model": "caps"}], "is the name of what comes in"),
        ([{"name": "a", "model": "caps", "options": {"x": 1}}], "`options` are an op's"),
    ],
)
def test_settings_that_are_no_graph_are_refused(steps, says):
    with pytest.raises(ValueError, match=r".") as refused:
        PipelineSettings.model_validate({"steps": steps, "input": {"frames": "c"}, "deadline_ms": 1})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {2: {"options": {"size": [9, 9]}}},
            "step judge: model caps 1 takes uint8 [8, 8, 3], and is given uint8 [9, 9, 3]",
        ),
        ({2: {"takes": ["input", "find"]}}, "step crops: op crop takes one picture and `boxes`"),
        ({1: {"takes": ["find.corners"]}}, "step boxes: takes find.corners; find gives boxes, scores"),
        ({3: {"model": "finder", "takes": ["input"]}}, "is a detector; a classifier or an anomaly model judges"),
    ],
)
def test_a_graph_whose_steps_do_not_fit_is_refused_with_the_step(models, changed, says):
    steps = [step | changed.get(index, {}) for index, step in enumerate(STEPS)]
    made = pipeline(models, steps=steps)
    for name in made.models[:-1]:
        made.use(models[name])
    (problem,) = made.problems_of(models[made.models[-1]])
    assert problem.startswith("pipeline p: ")
    assert says in problem
    with pytest.raises(ContractError):
        made.use(models[made.models[-1]])


def test_features_of_a_window_of_frames_feed_a_model(models):
    steps = [
        {"name": "swing", "op": "zscore", "options": {"mean": [0.0, 0.0], "std": [2.0, 2.0]}},
        {"name": "judge", "model": "drift"},
    ]
    spec = {"frames": "vib1", "shape": [8, 2], "dtype": "float32"}
    made = pipeline(models, "drift", steps=steps, input=spec, decision={"threshold": 1.0})
    window = np.full((8, 2), 3.0, np.float32)
    (answer,) = answer_of(made, frame(window, dtype="float32"))
    assert (answer.decision.verdict, answer.result.score) == (Verdict.NOK, pytest.approx(1.5))
    said = pipeline(models, steps=steps, input={"frames": "vib1"}).problems_of(models["drift"])
    assert "must say the `shape` and `dtype`" in said[0]


# --- tags beside a frame ---------------------------------------------------------------------------------------------

JOIN = {"source": "plant", "tags": ["Line.Speed", {"tag": "Motor.Temperature", "bad": "substitute", "substitute": 0.1}]}
DARK = np.zeros(SHAPE, np.uint8)


def joined(models, *readings, join=JOIN, **settings):
    made = pipeline(models, "fused", model="fused", join=join, **settings)
    for one in readings:
        assert made.offer_reading(one, one.scan_ns) is None
    return made


def test_the_tags_of_a_frame_are_those_of_its_trigger_not_of_its_arrival(models):
    made = joined(
        models, *(reading(at, Line_Speed=at / 1000, Motor_Temperature=0.0) for at in (900, 960, 1_000, 1_030))
    )
    (answer,) = answer_of(made, frame(DARK, at=999))
    assert answer.inputs["tags"].tolist() == [[pytest.approx(0.96), 0.0]]
    assert answer.result.quality is Quality.GOOD


@pytest.mark.parametrize(
    ("readings", "quality", "reason", "outcome"),
    [
        ([], "bad", "bad_quality: Line.Speed bad (no value yet)", "dropped"),
        ([reading(400, Line_Speed=1)], "bad", "bad_quality: Line.Speed bad (600 ms old at the trigger)", "dropped"),
        ([reading(990, Line_Speed=1)], "uncertain", "Motor.Temperature substituted (no value yet)", "result"),
        (
            [reading(980, Line_Speed=1, Motor_Temperature=1),
             reading(990, Line_Speed=1, Motor_Temperature=Sample(quality=Quality.BAD, reason="wire"))],
            "uncertain", "Motor.Temperature substituted (wire)", "result",
        ),
        (
            [reading(990, Line_Speed=Sample(value=5, quality=Quality.UNCERTAIN, reason="sub"), Motor_Temperature=1)],
            "uncertain", "Line.Speed uncertain (sub)", "result",
        ),
        ([reading(990, Line_Speed=300, Motor_Temperature=1)], "uncertain", "Line.Speed is 300, the", "result"),
        ([reading(990, Line_Speed="fast", Motor_Temperature=1)], "bad", "not a finite number", "dropped"),
    ],
)  # fmt: skip
def test_what_is_not_good_about_a_joined_tag_is_told(models, readings, quality, reason, outcome):
    made = joined(models, *readings, join=JOIN | {"max_age_ms": 500})
    (answer,) = answer_of(made, frame(DARK))
    assert (answer.result.quality, answer.result.outcome) == (quality, outcome)
    assert reason in answer.result.reason


def test_a_held_tag_is_held_for_as_long_as_it_may_be(models):
    hold = {"tag": "Line.Speed", "bad": "hold", "max_age_ms": 100}
    bad = Sample(quality=Quality.BAD, reason="cut")
    readings = [reading(850, Line_Speed=2, Motor_Temperature=1), reading(900, Line_Speed=bad, Motor_Temperature=1)]
    join = {"source": "plant", "tags": [hold, "Motor.Temperature"]}
    made = joined(models, *readings, join=join, deadline_ms=500)
    (held,) = answer_of(made, frame(DARK, at=940))
    assert (held.result.quality, held.result.reason) == ("uncertain", "Line.Speed held (cut)")
    (over,) = answer_of(made, frame(DARK, seq=2, at=960))
    assert (over.result.outcome, over.decision.verdict) == ("dropped", "unknown")


def test_tags_of_a_run_of_the_source_that_has_ended_are_forgotten(models):
    made = joined(models, reading(990, Line_Speed=1, Motor_Temperature=1), reading(995, Motor_Temperature=1, epoch=4))
    assert "no value yet" in answer_of(made, frame(DARK))[0].result.reason


samples = st.builds(
    Sample,
    value=st.one_of(st.floats(width=32), st.integers(0, 255), st.booleans(), st.none(), st.text(max_size=2)),
    quality=st.sampled_from(list(Quality)),
)
policies = st.sampled_from(
    ["skip", "hold", {"bad": "substitute", "substitute": 3.0}, {"bad": "hold", "max_age_ms": 20}]
)


@given(
    rows=st.lists(st.tuples(st.integers(0, 60), samples, samples), max_size=6),
    first=policies, second=policies, camera=st.sampled_from(list(Quality)),
)  # fmt: skip
def test_nothing_that_is_not_good_makes_a_good_result(models, rows, first, second, camera):
    tags = [
        {"tag": tag} | (policy if isinstance(policy, dict) else {"bad": policy})
        for tag, policy in zip(TAGS, (first, second), strict=True)
    ]
    made = joined(models, join={"source": "plant", "tags": tags, "max_age_ms": 30})
    seen = {}
    for before_ms, *values in sorted(rows, key=lambda row: -row[0]):
        at = 1_000 - before_ms
        if seen and at <= seen["at"]:
            continue
        made.offer_reading(reading(at, Line_Speed=values[0], Motor_Temperature=values[1]), at * MS)
        seen = {"at": at, "values": values}
    (answer,) = answer_of(made, frame(DARK, quality=camera))
    fresh = bool(seen) and 1_000 - seen["at"] <= 30
    good = fresh and camera is Quality.GOOD and all(v.quality is Quality.GOOD for v in seen["values"])
    if not good:
        assert answer.result.quality is not Quality.GOOD
        assert answer.result.reason
    if answer.result.quality is Quality.BAD:
        assert answer.decision.verdict is Verdict.UNKNOWN
    if answer.inputs:
        assert np.isfinite(answer.inputs["tags"]).all()


# --- recipes ---------------------------------------------------------------------------------------------------------

RECIPE = {
    "source": "plant",
    "tag": "Recipe.Number",
    "choices": {"1": {}, "2": {"models": {"model": "dark"}}, "3": {"decision": {"reject": ["ok"], "threshold": 0.5}}},
    "max_age_ms": 100,
}


@pytest.mark.parametrize(
    ("number", "verdict", "recipe"),
    [(1, "ok", "1"), (2, "nok", "2"), (2.0, "nok", "2"), ("3", "nok", "3"), (9, "unknown", ""), (None, "unknown", "")],
)
def test_a_tag_chooses_the_model_and_the_rule_of_each_part(models, number, verdict, recipe):
    made = pipeline(models, "caps", "dark", model="caps", recipe=RECIPE)
    made.offer_reading(reading(990, Recipe_Number=number), 990 * MS)
    (answer,) = answer_of(made, frame(DARK))
    assert (answer.decision.verdict, answer.result.recipe) == (verdict, recipe)
    assert answer.result.model == ("dark" if recipe == "2" else "caps")
    if number == 9:
        assert answer.result.reason == "no_recipe: Recipe.Number is 9; there are 1, 2, 3"


def test_the_recipe_is_the_one_at_the_trigger_and_batches_do_not_mix(models):
    made = pipeline(models, "caps", "dark", model="caps", recipe=RECIPE)
    made.offer_reading(reading(980, Recipe_Number=1), 980 * MS)
    made.offer_reading(reading(990, Recipe_Number=2), 990 * MS)
    answers = answer_of(made, *(frame(DARK, seq, at) for seq, at in enumerate((985, 986, 992, 993, 994), 1)))
    assert [(a.decision.verdict.value, a.batch) for a in answers] == [("ok", 2)] * 2 + [("nok", 2)] * 2 + [("nok", 1)]


def test_an_old_or_a_bad_recipe_is_none_unless_the_pipeline_says_otherwise(models):
    made = pipeline(models, "caps", "dark", model="caps", recipe=RECIPE)
    made.offer_reading(reading(850, Recipe_Number=2), 850 * MS)
    assert "last Good 150 ms before" in answer_of(made, frame(DARK))[0].result.reason
    default = pipeline(models, "caps", "dark", model="caps", recipe=RECIPE | {"otherwise": "default"})
    (answer,) = answer_of(default, frame(DARK))
    assert (answer.decision.verdict, answer.result.recipe) == ("ok", "")


def test_a_recipe_whose_model_is_missing_stops_no_other(models):
    made = pipeline(models, "caps", model="caps", recipe=RECIPE)
    made.offer_reading(reading(990, Recipe_Number=1), 990 * MS)
    assert answer_of(made, frame(DARK))[0].decision.verdict is Verdict.OK
    made.offer_reading(reading(995, Recipe_Number=2), 995 * MS)
    assert answer_of(made, frame(DARK, 2))[0].result.reason == "no_model"


def test_the_shorthand_is_a_graph_of_one_step(models):
    short = PipelineSettings.model_validate({"model": "caps", "input": {"frames": "c"}, "deadline_ms": 1})
    assert [(step.name, step.model) for step in short.graph] == [("model", "caps")]
    assert short.models == ("caps",)
    assert DecisionRule().empty == "unknown"
