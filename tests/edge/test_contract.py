"""A model folder keeps its contract, or `Contract.load` says everything that is wrong with it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge.models.contract import Contract
from schemas.errors import ContractError

MODEL = b"not read by the contract, only hashed"
TOML = """\
name = "press"
version = "2"
kind = "anomaly"
summary = "A press's stroke."
sha256 = "{model}"
warm_batches = [1, 4]

[[inputs]]
name = "window"
dtype = "float32"
shape = ["N", 8, 2]
sample_s = 0.5
channels = [
  {{ name = "force", unit = "kN", low = 0, high = 200 }},
  {{ name = "stroke", unit = "mm", low = -5, high = 300 }},
]

[[outputs]]
name = "score"
dtype = "float32"
shape = ["N"]
alarm_at = 1.0

[measured]
on = "1,000 strokes of another day"
figures = {{ recall = 0.97 }}

[timing]
machine = "a test"
runs = 100
p50_ms = 0.1
p99_ms = 0.2
worst_ms = 0.5

[golden]
sha256 = "{golden}"
tolerance = 0.001
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "models" / "press" / "2"
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(MODEL)
    np.savez(
        place / "golden.npz", in_window=np.zeros((2, 8, 2), np.float32), out_score=np.array([0.25, 0.5], np.float32)
    )
    golden = hashlib.sha256((place / "golden.npz").read_bytes()).hexdigest()
    (place / "model.toml").write_text(TOML.format(model=hashlib.sha256(MODEL).hexdigest(), golden=golden))
    return place


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def problems_of(folder: Path) -> str:
    with pytest.raises(ContractError) as caught:
        Contract.load(folder)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("name", ["a\0b", "a" * 5_000])
def test_a_name_that_no_folder_can_have_is_a_problem_of_the_folder(folder: Path, name: str) -> None:
    assert "can't be read" in problems_of(folder / name)


def test_a_sound_folder_is_read(folder: Path) -> None:
    contract = Contract.load(folder)
    assert (contract.name, contract.version, contract.kind) == ("press", "2", "anomaly")
    assert contract.inputs[0].shape == ("N", 8, 2)
    assert [(channel.name, channel.unit) for channel in contract.inputs[0].channels] == [
        ("force", "kN"),
        ("stroke", "mm"),
    ]
    assert contract.outputs[0].alarm_at == 1.0
    assert contract.model_path == folder / "model.onnx"


def test_a_contract_cannot_be_changed(folder: Path) -> None:
    contract = Contract.load(folder)
    with pytest.raises(ValueError, match="frozen"):
        contract.name = "other"  # type: ignore[misc]  # what is tested


def test_a_model_file_that_was_changed_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(MODEL + b"!")
    assert "model.onnx: corrupt or of another version" in problems_of(folder)


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert f"{file}: can't be read: No such file" in problems_of(folder)


def test_a_folder_without_a_contract_says_what_belongs_there(tmp_path: Path) -> None:
    assert "a model folder holds model.toml, model.onnx and golden.npz" in problems_of(tmp_path)


def test_broken_toml_is_named_with_its_place(folder: Path) -> None:
    change(folder, "[timing]", "[timing")
    assert "can't be read as TOML" in problems_of(folder)


def test_every_problem_is_reported_at_once(folder: Path) -> None:
    change(folder, 'dtype = "float32"\nshape = ["N", 8, 2]', 'dtype = "float31"\nshape = ["N", 8, 2]')
    change(folder, "sample_s", "sampel_s")
    change(folder, "low = 0, high = 200", "low = 300, high = 200")
    change(folder, "warm_batches = [1, 4]", "warm_batches = []")
    change(folder, "runs = 100", "runs = 0")
    found = problems_of(folder)
    for part in (
        "inputs.0.dtype",
        "sampel_s: unknown key; did you mean sample_s?",
        "low 300.0 must be under high 200.0",
    ):
        assert part in found
    assert "warm_batches" in found
    assert "timing.runs" in found


def test_every_wrong_file_is_reported_at_once(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")
    (folder / "golden.npz").unlink()
    found = problems_of(folder)
    assert "model.onnx" in found
    assert "golden.npz" in found


def test_shape_and_channels_must_agree(folder: Path) -> None:
    change(folder, '["N", 8, 2]', '["N", 8, 3]')
    assert "the last axis has 3 entries, but 2 channels are named" in problems_of(folder)


def test_the_batch_axis_is_free(folder: Path) -> None:
    change(folder, '["N", 8, 2]', "[1, 8, 2]")
    assert 'shape must begin with "N"' in problems_of(folder)


def test_labels_and_shape_must_agree(folder: Path) -> None:
    change(folder, 'shape = ["N"]\nalarm_at = 1.0', 'shape = ["N", 3]\nlabels = ["good", "bad"]')
    assert "the last axis has 3 entries, but 2 labels are named" in problems_of(folder)


def test_a_classifier_names_its_labels(folder: Path) -> None:
    change(folder, 'kind = "anomaly"', 'kind = "classifier"')
    assert "a classifier names its labels" in problems_of(folder)


def test_an_anomaly_model_names_its_alarm_level(folder: Path) -> None:
    change(folder, "alarm_at = 1.0\n", "")
    assert "outputs.0.alarm_at" in problems_of(folder)


def test_a_model_in_the_wrong_folder_is_refused(folder: Path) -> None:
    moved = folder.parent / "3"
    folder.rename(moved)
    assert "must lie in models/press/2/" in problems_of(moved)


def test_the_file_cannot_name_its_own_folder(folder: Path) -> None:
    change(folder, 'name = "press"', 'folder = "/etc"\nname = "press"')
    assert "folder: unknown key" in problems_of(folder)


def test_golden_vectors_tell_a_good_answer_from_a_bad_one(folder: Path) -> None:
    golden = Contract.load(folder).read_golden()
    right = golden.outputs["score"]
    assert golden.inputs["window"].shape == (2, 8, 2)
    assert golden.problems({"score": right + 0.0005}) == []
    assert "0.002 away from its golden vector" in golden.problems({"score": right + 0.002})[0]
    assert "shape (2,) expected" in golden.problems({"score": right[:1]})[0]
    assert golden.problems({"score": right * np.nan})
    assert golden.problems({})


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"in_other": np.zeros(1), "out_score": np.zeros(1)}, "golden vectors can't be read"),
        ({"in_window": np.zeros((0, 8, 2), np.float32), "out_score": np.zeros(0)}, "not one batch of one size"),
    ],
)
def test_golden_vectors_that_are_not_the_models_are_refused(
    folder: Path, arrays: dict[str, np.ndarray], problem: str
) -> None:
    np.savez(folder / "golden.npz", **arrays)
    digest = hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest()
    text = (folder / "model.toml").read_text()
    before = text.split("[golden]")[1].split('"')[1]
    change(folder, before, digest)
    with pytest.raises(ContractError, match=problem):
        Contract.load(folder).read_golden()


@pytest.mark.parametrize(
    ("boxes", "scores", "fine"),
    [
        ('["N", 640, 4]', '["N", 640]', True),
        ('["N", 640, 5]', '["N", 640]', False),
        ('["N", 640, 4]', '["N", 64]', False),
        ('["N", 640, 4]', '["N", 640, 1]', False),
    ],
)
def test_a_detector_gives_as_many_boxes_as_scores(folder: Path, boxes: str, scores: str, fine: bool) -> None:
    change(folder, 'kind = "anomaly"', 'kind = "detector"')
    outputs = (
        f'name = "boxes"\ndtype = "float32"\nshape = {boxes}\n\n'
        f'[[outputs]]\nname = "scores"\ndtype = "float32"\nshape = {scores}\n'
    )
    change(folder, 'name = "score"\ndtype = "float32"\nshape = ["N"]\nalarm_at = 1.0\n', outputs)
    if fine:
        assert [output.name for output in Contract.load(folder).outputs] == ["boxes", "scores"]
    else:
        assert 'a detector gives "boxes" [N, K, 4]' in problems_of(folder)


def test_a_detector_names_its_outputs(folder: Path) -> None:
    change(folder, 'kind = "anomaly"', 'kind = "detector"')
    assert 'a detector gives "boxes" [N, K, 4]' in problems_of(folder)
