"""Only the uplink's metadata leaves a device: an engine's own telemetry must not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.engines import engine_names
from tests.edge.small_models import write_classifier

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import sys; from pathlib import Path
from edge.engines import load_engine
from edge.models.contract import Contract
from schemas.errors import ContractError
try:
    load_engine(sys.argv[1]).load(Contract.load(Path(sys.argv[2]))).close()
except ContractError as error:
    print(error)
"""


@pytest.mark.parametrize("engine", engine_names())
@pytest.mark.slow
def test_running_a_model_creates_no_device_id_and_no_store_of_events(engine: str, tmp_path: Path) -> None:
    # ONNX Runtime is silent by itself where it sees a CI machine, so the test takes those signs away.
    (tmp_path / "home").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    argv = [sys.executable, "-c", LOAD, engine, str(write_classifier(tmp_path))]
    loaded = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    assert loaded.returncode == 0, loaded.stderr
    assert sorted(path for path in (tmp_path / "home").rglob("*") if path.is_file()) == []
