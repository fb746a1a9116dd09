"""The models that ship with the demo do on new data what their contracts say, run by the engine of the device."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import edge.sim
from edge.engines import Session, cpu
from edge.models.contract import Contract
from edge.sim.parts import LABELS, PartStream
from edge.sim.signals import FAULTS, Fault, FaultKind, line_signals
from edge.sim.vibration import CONDITIONS, GEAR_FAULTS, vibration

MODELS = Path(edge.sim.__file__).parent / "demo" / "models"
NAMES = ("cap_finder", "cap_inspection", "gear_condition", "line_anomaly", "temperature_anomaly")


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
    together = session.run({name: batch})
    for output in (tensor.name for tensor in contract.outputs):
        alone = np.concatenate([session.run({name: batch[at : at + 1]})[output] for at in range(len(batch))])
        assert np.allclose(together[output], alone, atol=1e-3 if output == "boxes" else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_enough_for_git(name: str) -> None:
    assert (MODELS / name / "1" / "model.onnx").stat().st_size < 400_000


@pytest.mark.slow
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


def test_gearboxes_of_unseen_machines_and_speeds_are_judged_right() -> None:
    contract, session = load("gear_condition")
    assert contract.outputs[0].labels == CONDITIONS
    shown = [
        (fault, vibration(seed, number, speed_ppm, fault, 0.7))
        for seed in range(15_000_000, 15_000_030)  # seeds that neither training nor the published figures used
        for number, fault in enumerate((None, *GEAR_FAULTS))
        for speed_ppm in (450.0, 660.0)  # within the bands that were held out
    ]
    windows = np.stack([window for _, window in shown])
    guesses = [CONDITIONS[index] for index in session.run({"window": windows})["probabilities"].argmax(1)]
    right = [guess == (fault or "healthy") for guess, (fault, _) in zip(guesses, shown, strict=True)]
    assert np.mean(right) >= 0.965  # of 240: 99 % less three standard deviations


def test_the_published_gear_figures_are_good_enough_to_ship() -> None:
    figures = Contract.load(MODELS / "gear_condition" / "1").measured.figures
    assert figures["accuracy"] >= 0.97
    assert figures["false_alarm_rate"] <= 0.001
    assert figures["false_alarm_low_95"] <= figures["false_alarm_rate"] <= figures["false_alarm_high_95"]
    assert min(figures[f"{fault}_plain_alarmed"] for fault in GEAR_FAULTS) >= 0.99
    assert min(figures[f"{fault}_early_alarmed"] for fault in GEAR_FAULTS) >= 0.7


@pytest.mark.slow
def test_bottles_on_unseen_tables_are_found_where_they_stand() -> None:
    found = pytest.importorskip("edge.sim.training.found", reason="needs torch, of the train extra")
    measured = found.evaluate(load("cap_finder")[1], load("cap_inspection")[1], range(25_000_000, 25_000_020))
    assert measured["recall"] >= 0.99
    assert measured["precision"] >= 0.99
    assert measured["centre_off_px_p99"] <= 2.0
    assert measured["cap_inspection_accuracy_on_its_crops"] >= 0.96


def test_the_published_finder_figures_are_good_enough_to_ship() -> None:
    figures = Contract.load(MODELS / "cap_finder" / "1").measured.figures
    assert min(figures["recall"], figures["precision"], figures["pictures_with_the_right_count"]) >= 0.99
    assert figures["pictures_with_a_defect_passed"] <= 0.02
    assert figures["fine_pictures_rejected"] <= 0.05


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
