"""What each op computes, what it refuses, and that a batch is its rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.steps import Spec, make_step, op_names, read_options
from schemas.errors import ContractError

WINDOW = {"w": Spec("float64", (256, 2))}
PICTURE = {"input": Spec("uint8", (40, 60, 3))}
BOXES = {"boxes": Spec("float32", (4,))}
FOUND = {"boxes": Spec("float32", (5, 4)), "scores": Spec("float32", (5,))}
GIVEN = {
    "concat": ({}, [WINDOW]),
    "crop": ({"size": [8, 8]}, [PICTURE, BOXES]),
    "fft": ({"sample_hz": 100.0, "bands": [[1.0, 10.0], [10.0, 50.0]]}, [WINDOW]),
    "nms": ({}, [FOUND]),
    "rms": ({}, [WINDOW]),
    "zscore": ({}, [WINDOW]),
}


@pytest.mark.parametrize("op", op_names())
def test_a_step_gives_what_it_says(op):
    options, taken = GIVEN[op]
    step = make_step(op, options, taken)
    draw = np.random.default_rng(1)
    rows = 3 if step.rowwise else 1
    values = [
        {
            name: (draw.random((rows, *spec.shape)) * 39).astype(spec.dtype)
            for name, spec in specs.items()
        }
        for specs in taken
    ]  # fmt: skip
    given_back = step.run(*values)
    assert given_back.keys() == step.gives.keys()
    for name, array in given_back.items():
        assert (array.dtype.name, array.shape[1:]) == step.gives[name]
        if step.rowwise:
            assert len(array) == rows
            alone = [
                step.run(*[{n: v[r : r + 1] for n, v in value.items()} for value in values])[name] for r in range(3)
            ]
            np.testing.assert_array_equal(array, np.concatenate(alone))
        elif step.most_rows:
            assert len(array) <= step.most_rows


@pytest.mark.parametrize("op", op_names())
def test_an_unknown_option_and_nothing_to_take_are_refused(op):
    options, _ = GIVEN[op]
    with pytest.raises(ContractError, match=f"op {op}: options.shine: .*there are"):
        read_options(op, options | {"shine": 1})
    with pytest.raises(ContractError, match=f"op {op}"):
        make_step(op, options, [])


@pytest.mark.parametrize(
    ("op", "options", "taken", "says"),
    [
        ("polish", {}, [WINDOW], "there is no op 'polish'; there are concat, crop"),
        ("rms", {}, [PICTURE], "takes one tensor of 2 axes"),
        ("fft", {"sample_hz": 100.0, "bands": [[10.0, 60.0]]}, [WINDOW], "within 0 to 50"),
        ("fft", {"sample_hz": 100.0, "bands": [[10.01, 10.02]]}, [WINDOW], "no line of the spectrum"),
        ("zscore", {"mean": [1.0], "std": [1.0]}, [WINDOW], "1 means for 2 columns"),
        ("zscore", {"mean": [1.0, 2.0], "std": [1.0, 0.0]}, [WINDOW], "over 0"),
        ("nms", {}, [PICTURE], "is given input [40, 60, 3]"),
        ("crop", {"size": [8, 8]}, [PICTURE], "takes one picture and `boxes`"),
        ("crop", {"size": [64, 8], "scale": "keep"}, [PICTURE, BOXES], "no room for a crop of 64x8"),
        ("crop", {"size": [8]}, [PICTURE, BOXES], "size"),
    ],
)
def test_what_an_op_can_not_do_is_said(op, options, taken, says):
    with pytest.raises(ContractError) as refused:
        make_step(op, options, taken)
    assert says in str(refused.value)


def test_a_sine_stands_at_its_frequency_with_its_amplitude_and_its_rms_in_its_band():
    time_s = np.arange(256) / 256
    sine = 3.0 * np.sin(2 * np.pi * 32 * time_s) + 7.0
    window = {"w": np.stack([sine, np.full(256, 5.0)], axis=1)[None]}
    specs = [{"w": Spec("float64", (256, 2))}]
    spectrum = make_step("fft", {"sample_hz": 256.0}, specs).run(window)["fft"].reshape(2, 129)
    assert spectrum[0].argmax() == 32
    assert spectrum[0, 32] == pytest.approx(3.0, rel=1e-3)
    assert spectrum[1].max() < 1e-6
    bands = make_step("fft", {"sample_hz": 256.0, "bands": [[20.0, 44.0], [60.0, 120.0]]}, specs).run(window)["fft"]
    assert bands[0] == pytest.approx([3.0 / np.sqrt(2), 0, 0, 0], abs=1e-3)
    assert make_step("rms", {}, specs).run(window)["rms"][0] == pytest.approx([3.0 / np.sqrt(2), 0], abs=1e-3)
    still = make_step("rms", {"remove_mean": False}, specs).run(window)["rms"][0]
    assert still[1] == pytest.approx(5.0)


def test_zscore_of_a_jump_is_large_and_a_flat_window_is_no_number_but_zero():
    draw = np.random.default_rng(2)
    window = draw.normal(10.0, 2.0, (1, 256, 2))
    window[0, -1] = [30.0, 10.0]
    window[:, :, 1] = 10.0
    own = make_step("zscore", {}, [WINDOW]).run({"w": window})["zscore"][0]
    assert own[0] == pytest.approx(10.0, rel=0.15)
    assert own[1] == 0.0
    known = make_step("zscore", {"mean": [10.0, 0.0], "std": [2.0, 5.0]}, [WINDOW]).run({"w": window})["zscore"]
    assert known[0, -1] == pytest.approx([10.0, 2.0])


def found(*boxes):
    """What a detector of five candidates says."""
    rows = np.zeros((1, 5, 4), np.float32)
    scores = np.zeros((1, 5), np.float32)
    for index, (score, *box) in enumerate(boxes):
        rows[0, index], scores[0, index] = box, score
    return {"boxes": rows, "scores": scores}


def test_nms_keeps_the_surest_of_what_overlaps_and_nothing_unsure():
    step = make_step("nms", {"score": 0.3, "iou": 0.5, "max": 3}, [FOUND])
    kept = step.run(
        found(
            (0.7, 0, 0, 10, 10),
            (0.9, 1, 0, 11, 10),
            (0.8, 30, 30, 40, 40),
            (0.2, 50, 0, 60, 10),
            (np.nan, 0, 30, 9, 39),
        )
    )
    assert kept["boxes"].tolist() == [[1, 0, 11, 10], [30, 30, 40, 40]]
    assert kept["scores"].tolist() == pytest.approx([0.9, 0.8])
    assert len(step.run(found())["boxes"]) == 0
    many = step.run(found(*((0.9 - i / 10, 20 * i, 0, 20 * i + 10, 10) for i in range(5))))
    assert len(many["boxes"]) == 3


@given(
    boxes=st.lists(
        st.tuples(st.floats(0, 1, width=32), *(st.floats(-50, 100, width=32) for _ in range(4))), min_size=5, max_size=5
    )
)
def test_nms_never_keeps_two_of_one_place(boxes):
    step = make_step("nms", {"score": 0.25, "iou": 0.4}, [FOUND])
    kept = step.run(found(*boxes))["boxes"]
    for first in range(len(kept)):
        for second in range(first + 1, len(kept)):
            a, b = kept[first].astype(float), kept[second].astype(float)
            common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
            union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common
            assert union <= 0 or common / union <= 0.4 + 1e-4


def test_a_crop_is_cut_where_the_box_is():
    picture = np.zeros((1, 40, 60, 3), np.uint8)
    picture[0, 10:20, 30:40] = 200
    box = {"boxes": np.array([[30, 10, 40, 20], [0, 0, 10, 10], [56, 36, 66, 46]], np.float32)}
    fit = make_step("crop", {"size": [20, 20]}, [PICTURE, BOXES]).run({"input": picture}, box)["crops"]
    assert fit.dtype == np.uint8
    assert fit[0].min() >= 95  # its edge is half way between the thing and what is beside it
    assert (fit[0, 1:-1, 1:-1] == 200).all()
    assert fit[1].max() == 0
    keep = make_step("crop", {"size": [10, 10], "scale": "keep"}, [PICTURE, BOXES]).run({"input": picture}, box)[
        "crops"
    ]
    assert (keep[0] == 200).all()
    assert keep[2].shape == (10, 10, 3)  # moved inside the picture
    none = make_step("crop", {"size": [10, 10]}, [PICTURE, BOXES]).run({"input": picture}, {"boxes": np.empty((0, 4))})
    assert none["crops"].shape == (0, 10, 10, 3)


@given(box=st.tuples(*(st.floats(-1e4, 1e4, width=32) for _ in range(4))))
def test_no_box_makes_a_crop_fail(box):
    picture = np.full((1, 40, 60, 3), 9, np.uint8)
    for scale in ("keep", "fit"):
        step = make_step("crop", {"size": [8, 8], "scale": scale, "margin": 0.2}, [PICTURE, BOXES])
        crops = step.run({"input": picture}, {"boxes": np.array([box], np.float32)})["crops"]
        assert (crops == 9).all()
