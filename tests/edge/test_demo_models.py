"""The models that ship with the demo do on new data what their contracts say, run by the engine of the device."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import edge.sim
from edge.engines import Session, cpu
from edge.inference.contract import Contract
from edge.sim.parts import LABELS, PartStream
from edge.sim.signals import FAULTS, Fault, FaultKind, line_signals

MODELS = Path(edge.sim.__file__).parent / "demo" / "models"
NAMES = ("cap_inspection", "line_anomaly", "temperature_anomaly")


def load(name: str) -> tuple[Contract, Session]:
    contract = Contract.load(MODELS / name / "1")
    return contract, cpu.load(contract)


@pytest.mark.parametrize("name", NAMES)
def test_golden_vectors_match(name: str) -> None:
    contract, session = load(name)
    golden = contract.read_golden()
    assert golden.problems(session.run(golden.inputs)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_parts_give_alone(name: str) -> None:
    contract, session = load(name)
    name = contract.inputs[0].name
    batch = contract.read_golden().inputs[name]
    output = contract.outputs[0].name
    alone = np.concatenate([session.run({name: batch[at : at + 1]})[output] for at in range(len(batch))])
    assert np.allclose(session.run({name: batch})[output], alone, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_enough_for_git(name: str) -> None:
    assert (MODELS / name / "1" / "model.onnx").stat().st_size < 400_000


def test_caps_of_unseen_batches_are_sorted_right() -> None:
    contract, session = load("cap_inspection")
    assert contract.outputs[0].labels == LABELS
    right = 0
    for seed in range(5_000_000, 5_000_030):  # seeds that neither training nor the published figures used
        stream = PartStream(seed, defect_rate=0.75)
        images = np.stack([stream.image(part_id) for part_id in range(20)])
        guesses = session.run({"image": images})["probabilities"].argmax(1)
        right += sum(LABELS[guess] == stream.part(part_id).label for part_id, guess in enumerate(guesses))
    assert right / 600 >= 0.96  # 98 % less three standard deviations of 600 draws


def test_the_published_cap_figures_are_good_enough_to_ship() -> None:
    figures = Contract.load(MODELS / "cap_inspection" / "1").measured.figures
    assert figures["accuracy"] >= 0.98
    assert figures["false_reject_low_95"] <= figures["false_reject_rate"] <= figures["false_reject_high_95"] <= 0.03


def scores(session: Session, seed: int, first_s: float, last_s: float, fault: Fault | None = None) -> np.ndarray:
    """The score at `first_s` + 3.2 s and twice a second from there on."""
    t = np.arange(first_s, last_s, 0.1)
    series = np.stack(line_signals(t, seed, fault), axis=-1).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(series, 32, axis=0)[::5].transpose(0, 2, 1)
    return np.asarray(session.run({"window": np.ascontiguousarray(windows)})["score"])


def test_the_line_model_is_made_for_the_scan_rate_of_the_demo() -> None:
    contract, _ = load("line_anomaly")
    settings = tomllib.loads((MODELS.parent / "device.toml").read_text(encoding="utf-8"))
    groups = [source["groups"] for source in settings["sources"].values() if "process" in source.get("groups", {})]
    assert [group["process"] for group in groups] == [round(1000 * (contract.inputs[0].sample_s or 0))]


def test_a_clean_line_raises_no_alarm_in_an_hour() -> None:
    _, session = load("line_anomaly")
    assert scores(session, 60_001, 0.0, 3600.0).max() < 1.0


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_the_line_raises_an_alarm_and_not_before_it(kind: FaultKind) -> None:
    _, session = load("line_anomaly")
    assert scores(session, 60_002, 600.0, 700.0, Fault(kind, 700.0)).max() < 1.0
    assert scores(session, 60_002, 700.0, 1000.0, Fault(kind, 700.0)).max() >= 1.0


def test_the_replayed_temperature_finds_the_published_windows(shared_data: Path) -> None:
    temperature = pytest.importorskip("edge.sim.training.temperature", reason="needs onnx, of the train extra")
    contract, session = load("temperature_anomaly")

    measured = temperature.evaluate(
        lambda windows: session.run({"window": windows.astype(np.float32)})["score"], shared_data / "nab"
    )
    published = contract.measured.figures
    assert measured["windows_hit"] == published["windows_hit"]
    assert measured["false_alarms_per_week"] == pytest.approx(published["false_alarms_per_week"], abs=0.1)


def test_the_reference_page_says_what_the_contracts_say() -> None:
    reference = pytest.importorskip("edge.sim.training.reference", reason="needs onnx, of the train extra")
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md"
    assert page.read_text(encoding="utf-8") == reference.render(reference.contracts(MODELS))
