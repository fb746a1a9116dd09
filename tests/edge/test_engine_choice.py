"""`auto`: what a probe measures, what it chooses, and what a device makes of a choice that is not its own."""

import logging

import pytest

from edge.cli import make_parser
from edge.commands.hardware import hardware_verdicts
from edge.commands.probe import probe
from edge.engines import engine_names
from edge.models.engine_choice import (
    CHOICE_FILE,
    Choice,
    Measurement,
    _say_once,
    choose_engine,
    chosen_engine,
    machine,
    read_choice,
    write_choice,
)
from edge.models.probing import available, best
from edge.settings import Device, Engine, Settings
from schemas.errors import SettingsError
from tests.edge.small_models import write_classifier, write_fused

AUTO = Engine(engine="auto")
PLACE = Device(site="s", line="l", node="n")
DEVICE = '[device]\nsite = "s"\nline = "l"\nnode = "n"\n'


def one(engine, digest, p99_ms, problem=""):
    return Measurement(
        engine=engine, version="1", model=digest, digest=digest, batch=1, p50_ms=p99_ms, p99_ms=p99_ms,
        worst_ms=p99_ms, problem=problem,
    )  # fmt: skip


def kept(engine="openvino", where=None):
    return Choice(engine=engine, machine=where or machine(), time_ns=1, measured=[])


@pytest.mark.parametrize(
    ("other", "choice"), [((0.5, 0.5), "other"), ((0.95, 0.95), "cpu"), ((0.1, 1.2), "other"), ((2.0, 2.0), "cpu")]
)
def test_another_engine_must_be_better_by_a_tenth_over_all_models(other, choice):
    measured = [one("cpu", "a", 1.0), one("cpu", "b", 1.0), one("other", "a", other[0]), one("other", "b", other[1])]
    assert best(measured) == choice


def test_an_engine_that_can_t_run_one_of_the_models_is_not_chosen():
    wrong = one("other", "b", 0.0, problem="0.3 away from its golden vector")
    assert best([one("cpu", "a", 1.0), one("cpu", "b", 1.0), one("other", "a", 0.1), wrong]) == "cpu"
    assert best([]) == "cpu"


def test_auto_follows_the_choice_made_on_this_machine(tmp_path):
    write_choice(tmp_path, kept())
    assert chosen_engine(AUTO, tmp_path) == "openvino"
    assert chosen_engine(Engine(engine="cpu"), tmp_path) == "cpu"


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "nothing was measured"), (b"{", "can't be read"), ("elsewhere", "measured on elsewhere")],
)
def test_auto_is_cpu_with_the_reason_where_there_is_no_choice_of_this_machine(tmp_path, caplog, content, why):
    if content == "elsewhere":
        write_choice(tmp_path, kept(where="elsewhere"))
    elif content:
        (tmp_path / "state").mkdir()
        (tmp_path / CHOICE_FILE).write_bytes(content)
    _say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [chosen_engine(AUTO, tmp_path) for _ in range(3)] == ["cpu"] * 3
    assert why in caplog.text
    assert len(caplog.records) == 1
    assert [str(verdict) for verdict in hardware_verdicts(tmp_path, Settings(device=PLACE, runtime=AUTO))] == [
        f"warn  engine       auto is cpu: {choose_engine(AUTO, tmp_path)[1]}; run `plantedge probe`"
    ]


@pytest.mark.slow
def test_a_probe_measures_every_engine_on_every_model_and_keeps_its_choice(tmp_path, capsys):
    (tmp_path / "device.toml").write_text(DEVICE)
    write_classifier(tmp_path / "models")
    write_classifier(tmp_path / "models", version="2")
    write_fused(tmp_path / "models")
    assert probe(tmp_path, None) == 0
    choice, (engines, lacking) = read_choice(tmp_path), available(engine_names())
    assert {(m.engine, m.model, m.batch) for m in choice.measured} == {
        (engine, model, batch) for engine in engines for model in ("caps 2", "fused 1") for batch in (1, 4)
    }
    assert all(0 < m.p50_ms <= m.p99_ms <= m.worst_ms and not m.problem for m in choice.measured)
    assert choice.engine in engines and chosen_engine(AUTO, tmp_path) == choice.engine
    said = capsys.readouterr().out
    assert all(f"{name}: not measured: {why}" in said for name, why in lacking.items())
    assert f"{choice.engine} is the choice" in said


def test_a_probe_without_models_says_so(tmp_path, capsys):
    (tmp_path / "device.toml").write_text(DEVICE)
    given = make_parser().parse_args(["probe", "--home", str(tmp_path), "--models-dir", str(tmp_path / "none")])
    assert given.run(given) == 1
    assert "holds no model" in capsys.readouterr().err


def test_an_engine_or_option_that_does_not_exist_is_told_at_its_line(tmp_path):
    from edge.config.files import read_settings

    lines = '[runtime]\nengine = "opnvino"\n[runtime.options.cpu]\nthread = 2\n[runtime.options.cdua]\n'
    (tmp_path / "device.toml").write_text(DEVICE + lines)
    with pytest.raises(SettingsError) as wrong:
        read_settings(tmp_path, with_contents=True)
    assert sorted(wrong.value.problems) == [
        "device.toml:6: runtime.engine: there is no engine 'opnvino'; did you mean openvino?",
        "device.toml:7: [runtime.options.cpu] thread: not known; there are threads",
        "device.toml:9: runtime.options.cdua: there is no engine 'cdua'; did you mean cuda?",
    ]
