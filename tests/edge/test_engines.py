"""Every file of edge/engines against the same promises, with small models and the models of the demo."""

import re
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from edge.engines import engine_file, engine_names, load_engine
from edge.host.memory import give_back
from edge.models.contract import Contract
from edge.models.loaded import load_model
from schemas.errors import ContractError
from tests.edge.small_models import SHAPE, TAGS, anomaly, seal, write_anomaly, write_classifier, write_fused

DEMO = sorted((Path(__file__).parents[2] / "edge" / "sim" / "demo" / "models").glob("*/*/model.toml"))


@pytest.fixture(params=engine_names())
def engine(request):
    """Each engine, or a skip: extras and accelerators are optional, under CI too (cpu is always there)."""
    try:
        lacking = engine_file(request.param).missing()
    except ContractError as error:
        lacking = str(error)
    if lacking:
        assert request.param != "cpu"
        pytest.skip(lacking)
    return load_engine(request.param)


def test_an_engine_says_what_computes(engine):
    assert re.fullmatch(r"[a-zA-Z].* \d+\.\d+.*", engine.version())


@pytest.mark.parametrize("toml", DEMO, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_golden_vectors_of_the_demo_models_hold_in_every_warm_batch(engine, toml):
    contract = Contract.load(toml.parent)
    golden = contract.read_golden()
    session = engine.load(contract)
    assert golden.problems(session.run(golden.inputs)) == []
    for size in contract.warm_batches:
        batch = {name: np.concatenate([value] * size)[:size] for name, value in golden.inputs.items()}
        for name, wanted in golden.outputs.items():
            want = np.concatenate([wanted] * size)[:size]
            np.testing.assert_allclose(session.run(batch)[name], want, atol=golden.tolerance)
    session.close()


def test_outputs_are_the_contracts_and_their_first_axis_is_the_batch(engine, tmp_path):
    session = engine.load(Contract.load(write_classifier(tmp_path)))
    outputs = session.run({"image": np.full((3, *SHAPE), 255, np.uint8)})
    assert outputs.keys() == {"probabilities"}
    np.testing.assert_allclose(outputs["probabilities"], [[0, 1]] * 3)


def test_several_inputs_are_told_apart_by_name(engine, tmp_path):
    model = load_model(write_fused(tmp_path), engine)
    assert [(tensor.name, tensor.dtype, tensor.shape, tensor.size) for tensor in model.inputs] == [
        ("image", "uint8", SHAPE, 192),
        ("tags", "float32", (len(TAGS),), 8),
    ]
    image, tags = np.zeros((2, *SHAPE), np.uint8), np.array([[0, 0], [1, 1]], np.float32)
    outputs = model.session.run({"tags": tags, "image": image})
    np.testing.assert_allclose(outputs["probabilities"], [[1, 0], [0.5, 0.5]])
    assert model.session.run(model.zeros(4))["probabilities"].shape == (4, 2)


@pytest.mark.parametrize("names", [[], ["image"], ["image", "tags", "other"]])
def test_a_feed_that_lacks_an_input_or_has_another_is_an_error_of_ours(engine, tmp_path, names):
    session = engine.load(Contract.load(write_fused(tmp_path)))
    feed = {"image": np.zeros((1, *SHAPE), np.uint8), "tags": np.zeros((1, len(TAGS)), np.float32)}
    feed["other"] = feed["tags"]
    with pytest.raises(ContractError, match="model fused 1"):
        session.run({name: feed[name] for name in names})


def test_a_loaded_model_knows_its_times_by_batch_size(engine, tmp_path):
    model = load_model(write_classifier(tmp_path), engine)
    assert model.p50_ms.keys() == model.worst_ms.keys() == set(model.batches)
    assert all(0 < model.p50_ms[size] <= model.worst_ms[size] for size in model.batches)


@pytest.mark.parametrize("batch", [np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, *SHAPE), np.float32)])
def test_a_batch_of_another_shape_or_type_is_an_error_of_ours(engine, tmp_path, batch):
    session = engine.load(Contract.load(write_classifier(tmp_path)))
    with pytest.raises(ContractError, match="model caps 1"):
        session.run({"image": batch})


def test_a_closed_session_says_so(engine, tmp_path):
    session = engine.load(Contract.load(write_classifier(tmp_path)))
    session.close()
    with pytest.raises(ContractError, match="closed"):
        session.run({"image": np.zeros((1, *SHAPE), np.uint8)})


@pytest.mark.slow
def test_the_memory_of_closed_models_is_given_back(engine, tmp_path):
    contract = Contract.load(write_classifier(tmp_path, shape=(224, 224, 3), deep=True))
    feed = {"image": np.zeros((4, 224, 224, 3), np.uint8)}
    resident = []
    for _ in range(20):
        session = engine.load(contract)
        session.run(feed)
        session.close()
        del session
        give_back()
        resident.append(psutil.Process().memory_info().rss / 1e6)
    assert resident[-1] - resident[4] < 6  # MB; one such model in memory takes more than 10


def test_a_corrupt_file_is_refused_though_its_digest_is_right(engine, tmp_path):
    folder = write_classifier(tmp_path)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:300])
    with pytest.raises(ContractError, match=r"model\.onnx"):
        engine.load(Contract.load(seal(folder)))


def test_a_file_changed_after_its_contract_was_read_is_refused(engine, tmp_path):
    folder = write_classifier(tmp_path)
    contract = Contract.load(folder)
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(ContractError, match="SHA-256"):
        engine.load(contract)


def test_weights_in_a_file_beside_the_model_are_refused(engine, tmp_path, monkeypatch):
    """They are not under the digest, and would be read from wherever the process happens to stand."""
    folder = write_classifier(tmp_path)
    model = onnx.load(folder / "model.onnx")
    onnx.save_model(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    monkeypatch.chdir(folder)
    with pytest.raises(ContractError, match=r"model\.onnx"):
        engine.load(Contract.load(seal(folder)))


def test_a_graph_that_is_not_its_contracts_says_which_tensor(engine, tmp_path):
    folder = write_anomaly(tmp_path)
    (folder / "model.onnx").write_bytes(anomaly(length=9))
    with pytest.raises(ContractError, match=r"input window is .*9.* in the graph"):
        engine.load(Contract.load(seal(folder)))


def test_answers_that_are_not_the_golden_ones_are_refused(engine, tmp_path):
    upright, inverted = write_classifier(tmp_path / "a"), write_classifier(tmp_path / "b", inverted=True)
    (upright / "model.onnx").write_bytes((inverted / "model.onnx").read_bytes())
    with pytest.raises(ContractError, match="golden vector"):
        load_model(seal(upright), engine)


def test_another_digest_than_the_one_asked_for_is_refused(engine, tmp_path):
    with pytest.raises(ContractError, match="asked for is"):
        load_model(write_classifier(tmp_path), engine, "0" * 64)


def test_an_engine_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ContractError, match=r"there is no engine 'warp'; there are .*cpu"):
        load_engine("warp")
