"""What only one engine does: its options, its cache, and what it says where it can't run."""

import os
from pathlib import Path

import onnxruntime
import pytest

from edge.engines import Tensor, cuda, engine_file, load_engine, tensorrt, verified_model
from edge.models import compiled
from edge.models.contract import Contract
from edge.models.ort_session import open_session
from schemas.errors import ContractError
from tests.edge.small_models import write_classifier

INPUTS = (Tensor("image", "uint8", (8, 8, 3)), Tensor("tags", "float32", (2,)))


@pytest.fixture
def contract(tmp_path):
    return Contract.load(write_classifier(tmp_path))


@pytest.mark.parametrize(
    ("engine", "options", "told"),
    [
        ("cpu", {"thread": 1}, r"\[runtime.options.cpu\] thread: not known; there are threads"),
        ("cpu", {"threads": 0}, "threads: Input should be greater"),
        ("cpu", {"threads": "2"}, "threads: Input should be a valid integer"),
        ("cuda", {"search": "slow"}, "search: Input should be 'heuristic'"),
        ("tensorrt", {"precision": "int4"}, "precision: Input should be 'fp32'"),
    ],
)
def test_an_option_that_is_not_the_engines_is_told_before_anything_is_loaded(engine, options, told):
    with pytest.raises(ContractError, match=told):
        load_engine(engine, options)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_without_its_hardware_an_engine_refuses_and_says_what_lacks(name, contract):
    lacking = engine_file(name).missing()
    if not lacking:
        pytest.skip("this machine has the hardware: tests/edge/test_engines.py runs on it")
    with pytest.raises(ContractError) as refused:
        load_engine(name).load(contract)
    assert refused.value.problems == (lacking,) or list(refused.value.problems) == [lacking]


def test_a_node_that_would_run_on_the_cpu_refuses_the_model_unless_that_is_allowed(contract):
    """With a provider of the CPU's wheel that takes no node of this graph."""
    model, providers = verified_model(contract), [("AzureExecutionProvider", {})]
    if providers[0][0] not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider besides the CPU's")
    with pytest.raises(ContractError, match="cpu_nodes"):
        open_session(contract, model, providers, cpu_nodes=False)
    open_session(contract, model, providers, cpu_nodes=True).close()


@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("cuda", cuda.provider(cuda.Options())[1]),
        ("tensorrt", tensorrt.provider(tensorrt.Options(precision="int8"), INPUTS, 8, None)[1]),
    ],
)
def test_the_options_are_words_of_the_installed_provider(library, options):
    """It ignores none of them: what it does not know it refuses, but only with a GPU."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    path = folder / f"libonnxruntime_providers_{library}.so"
    if not path.exists():
        pytest.skip(f"no {path.name}: onnxruntime-gpu is not installed")
    held = path.read_bytes()
    assert [name for name in options if name.encode() + b"\0" not in held] == []


def test_tensorrt_builds_one_engine_for_every_batch_size_and_keeps_it(tmp_path):
    _, options = tensorrt.provider(tensorrt.Options(precision="fp16"), INPUTS, 8, tmp_path / "gpu" / "model")
    assert options["trt_profile_min_shapes"] == "image:1x8x8x3,tags:1x2"
    assert options["trt_profile_max_shapes"] == "image:8x8x8x3,tags:8x2"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", "0")
    assert options["trt_engine_cache_path"] == str(tmp_path / "gpu" / "model")


def test_openvino_keeps_what_it_compiled_under_the_models_digest(contract, tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    load_engine("openvino", cache=tmp_path / "cache").load(contract).close()
    (folder,) = (tmp_path / "cache").iterdir()
    assert folder.name.startswith(f"{contract.sha256[:16]}-CPU-f32-")
    assert [path.suffix for path in folder.iterdir()] == [".blob"]
    session = load_engine("openvino", cache=tmp_path / "cache").load(contract)
    assert contract.read_golden().problems(session.run(contract.read_golden().inputs)) == []


def test_what_was_compiled_and_not_used_for_longest_gives_way(tmp_path):
    for day in range(compiled.KEPT + 3):
        (compiled.place_for(tmp_path, f"model-{day}") / "blob").touch()
        os.utime(tmp_path / f"model-{day}", (day, day))
    compiled.place_for(tmp_path, "model-3")
    (tmp_path / "timing.cache").touch()
    compiled.place_for(tmp_path, "new")
    held = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert len(held) == compiled.KEPT
    assert {"new", "model-3", f"model-{compiled.KEPT + 2}"} <= held
    assert not {"model-0", "model-4"} & held
    assert (tmp_path / "timing.cache").exists()


def test_openvino_names_the_devices_that_there_are(contract):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with pytest.raises(ContractError, match=r"finds no NPU here; there is .*CPU"):
        load_engine("openvino", {"device": "NPU"}).load(contract)
