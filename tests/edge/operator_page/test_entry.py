"""Links and settings of the operators' page, without its process."""

import json
import stat
from pathlib import Path

import pytest

from edge.cli import main
from edge.commands.printed import units
from edge.config.files import read_settings
from edge.line.plan import wanted
from edge.operator_page.links import FOLDER, is_panel, make_link, revoke_panels, use_once
from schemas.errors import SettingsError

DEVICE = '[device]\nsite = "s"\nline = "l"\nnode = "n"\n'


@pytest.fixture
def device(tmp_path: Path) -> Path:
    (tmp_path / "device.toml").write_text(DEVICE + '[hmi]\nhost = "::1"\nport = 8123\n')
    return tmp_path


def test_there_is_no_page_unless_it_is_wanted(device: Path) -> None:
    assert "hmi" in [row.name for row, _ in wanted(read_settings(device))]
    (device / "device.toml").write_text(DEVICE)
    assert "hmi" not in [row.name for row, _ in wanted(read_settings(device))]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('shifts = ["6:00"]', "no time of day"),
        ("shifts = []", "shifts"),
        ('pipelines = ["nowhere"]', "there is no pipeline 'nowhere'"),
        ("sample = 5", "sample"),
    ],
)
def test_settings_that_cant_be_meant_are_told(device: Path, line: str, problem: str) -> None:
    (device / "device.toml").write_text(f"{DEVICE}[hmi]\n{line}\n")
    with pytest.raises(SettingsError, match=problem):
        read_settings(device)


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["plantedge", "hmi", *words])
    status = main()
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_command_prints_the_link_and_nothing_else(
    device: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = run(capsys, monkeypatch, "--home", str(device), "--as", "ann")
    address, _, secret = out.strip().partition("/login?once=")
    assert (status, address, out.count("\n")) == (0, "http://[::1]:8123", 1)
    (file,) = (device / FOLDER).iterdir()
    assert secret not in file.name + file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (use_once(device, secret), use_once(device, secret)) == ("ann", None)
    _, out, _ = run(capsys, monkeypatch, "--home", str(device), "--panel")
    token = out.strip().partition("/panel?token=")[2]
    assert is_panel(device, token)
    assert use_once(device, token) is None
    assert run(capsys, monkeypatch, "--home", str(device), "--revoke")[0] == 0
    assert not is_panel(device, token)


def test_without_the_table_the_command_says_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "device.toml").write_text(DEVICE)
    status, out, err = run(capsys, monkeypatch, "--home", str(tmp_path))
    assert (status, out) == (1, "")
    assert "[hmi]" in err


def test_a_login_link_ends_after_a_day_and_is_no_panels(device: Path) -> None:
    secret = make_link(device, "ann")
    (file,) = (device / FOLDER).iterdir()
    file.write_text(json.dumps({"name": "ann", "until_s": 1.0}))
    assert not is_panel(device, secret)
    assert use_once(device, secret) is None
    assert revoke_panels(device) == 0
    assert use_once(device, "../../device.toml") is None


@pytest.mark.parametrize(("host", "alone"), [("127.0.0.1", True), ("192.0.2.10", False)])
def test_the_unit_admits_others_only_where_the_page_does(device: Path, host: str, alone: bool) -> None:
    (device / "device.toml").write_text(f'{DEVICE}[hmi]\nhost = "{host}"\n')
    unit = units(device)["plantedge@hmi.service.d/10-table.conf"]
    assert ("IPAddressDeny=any" in unit) is alone
    assert "MemoryMax=200M" in unit
