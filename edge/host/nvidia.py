"""What NVIDIA hardware and libraries are here, asked of the driver itself: boards have no nvidia-smi."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Final

# CUDA driver API: cuDeviceGetAttribute's CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_MAJOR, _MINOR = 75, 76
TENSORRT: Final = "libnvinfer.so.10"  # the one that ONNX Runtime 1.20 to 1.31 is built for
_NAME_BYTES: Final = 256
NO_GPU: Final = "no NVIDIA GPU answers: nvidia-smi must name one, and this process must see /dev/nvidia*"
NO_TENSORRT: Final = f"{TENSORRT} is not here: install tensorrt-cu13 10 (docs/explanation/hardware-guide.md)"


@cache
def gpu_name(device: int = 0) -> str:
    """Return a GPU's name and compute capability as one word (`nvidia-h200-sm90`), "" where there is none."""
    driver = _library("libcuda.so.1")
    if driver is None or driver.cuInit(0) != 0:
        return ""
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    major, minor = ctypes.c_int(), ctypes.c_int()
    asked = (
        driver.cuDeviceGet(ctypes.byref(handle), device),
        driver.cuDeviceGetName(name, _NAME_BYTES, handle),
        driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle),
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle),
    )
    if any(asked):
        return ""
    word = re.sub(r"[^a-z0-9]+", "-", name.value.decode(errors="replace").lower()).strip("-")
    return f"{word}-sm{major.value}{minor.value}"


@cache
def tensorrt_version() -> str:
    """Return the version of the TensorRT library (`10.9.0`), "" where it can't be loaded."""
    library = _library(TENSORRT)
    if library is None:
        return ""
    number: int = library.getInferLibVersion()  # major, minor and patch: 100500 is 10.5.0
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
