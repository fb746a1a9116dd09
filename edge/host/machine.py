"""Which machine computes: another processor, or the same one with other instructions, may round otherwise."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_MODEL: Final = ("model name", "Model", "Hardware")  # x86, boards, older ARM kernels
_FLAGS: Final = ("flags", "Features")


def fingerprint(cpuinfo: Path = _CPUINFO) -> str:
    """Return architecture, processor, and a digest of what it can do, such as `x86_64 Intel N100 0a1b2c3d4e5f`."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    model = next((told[key] for key in _MODEL if key in told), "unknown processor")
    flags = " ".join(sorted(set(next((told[key] for key in _FLAGS if key in told), "").split())))
    return f"{platform.machine()} {model} {hashlib.sha256(flags.encode()).hexdigest()[:12]}"
