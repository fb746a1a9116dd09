"""Only the uplink's metadata leaves a device: an engine's own telemetry must not."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD = "from edge.engines import load_engine; load_engine('cpu')"


def test_loading_the_runtime_creates_no_device_id_and_no_store_of_events(tmp_path: Path) -> None:
    # ONNX Runtime is silent by itself where it sees a CI machine, so the test takes those signs away.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )
    assert loaded.returncode == 0, loaded.stderr
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == []
