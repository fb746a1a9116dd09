"""Which device a command is about."""

from __future__ import annotations

from pathlib import Path

from edge.supervision.run_state import work_folder
from schemas.errors import StartError

DEVICE_FILE = "device.toml"


def device_home(home: Path | None) -> Path:
    """Return the device that a command is about: the one named, or the demo's."""
    return home.resolve() if home else work_folder() / "demo" / "device"


def need_device(home: Path) -> None:
    """Refuse a folder that is no device's.

    Raises:
        StartError: with the device folder beside it that was probably meant.
    """
    if (home / DEVICE_FILE).exists():
        return
    from edge.config.problems import nearest  # it brings pydantic, which a right name need not wait for

    beside = [file.parent.name for file in home.resolve().parent.glob(f"*/{DEVICE_FILE}")]
    near = nearest(home.resolve().name, beside)
    remedy = f"did you mean {home.parent / near}?" if near else "edge/sim/demo is an example to copy"
    raise StartError(f"{home} has no {DEVICE_FILE}, with which a device folder begins; {remedy}")
