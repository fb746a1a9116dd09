"""Settings in processes that don't check them: the same values, without pydantic, never those of an older file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge
from edge.config.held import HELD, discard, held_settings, keep, pack, unpack
from edge.processes import PROCESSES
from edge.settings import load_settings
from schemas.errors import SettingsError

DEMO = Path(edge.__file__).parent / "sim" / "demo"


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "device"
    shutil.copytree(DEMO, made)
    yield made
    discard(made)


def in_a_process(home, *names):
    """What a process that does not check settings holds; `names`: its modules."""
    script = (
        "import importlib, json, sys\nfrom pathlib import Path\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "from edge.config.pipeline import WindowInput\nfrom edge.settings import load_settings\n"
        "s = load_settings(Path(sys.argv[1]))\n"
        "windows = [n for n, p in s.pipelines.items() if isinstance(p.input, WindowInput)]\n"
        "print(json.dumps([sorted(m for m in sys.modules if m.startswith('pydantic')), s.lanes, windows,"
        " s.pipelines['tray_inspection'].models, s.place.line]))\n"
    )
    words = [sys.executable, "-P", "-c", script, str(home)]
    done = subprocess.run(
        words, env=os.environ | {HELD: "held"}, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_no_process_that_does_not_check_loads_pydantic_and_all_hold_the_same(home):
    settings = load_settings(home)
    keep(home, settings)
    pydantic, lanes, windows, models, line = in_a_process(home, *(row.module for row in PROCESSES if not row.checks))
    assert pydantic == []
    assert (lanes, line) == (settings.lanes, "line1")
    assert (windows, tuple(models)) == (["line_anomaly"], settings.pipelines["tray_inspection"].models)


def test_what_is_packed_comes_back(home):
    settings = load_settings(home)
    assert unpack(pack(settings)) == settings


@pytest.mark.slow
def test_a_changed_file_is_checked_anew_and_its_problems_are_told(home):
    keep(home, load_settings(home))
    file = home / "device.toml"
    file.write_text(file.read_text().replace('line = "line1"', 'line = "line2"'))
    assert held_settings(home).place.line == "line2"
    file.write_text(file.read_text().replace("lease_ms = 500", 'lease_ms = "long"'))
    with pytest.raises(SettingsError) as refused:
        held_settings(home)
    with pytest.raises(SettingsError) as told:
        load_settings(home)
    assert refused.value.problems == told.value.problems


def test_what_was_kept_and_is_damaged_is_not_believed(home, monkeypatch):
    settings = load_settings(home)
    keep(home, settings)
    from edge.config import held

    path = held._path(home)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    monkeypatch.setattr(held, "_checked_elsewhere", lambda _: pack(settings))
    assert held_settings(home) == settings
