"""The models of a device as KServe's protocol tells them, read from their contracts.

Source: KServe, Open Inference Protocol v2, "Model Metadata". Only what it asks for is read of `model.toml`; whether the
folder keeps its contract is the runtime's to say, and not for a process without numpy.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec

CONTRACT_FILE: Final = "model.toml"
PLATFORM: Final = "onnx_onnxv1"
_SLUG: Final = re.compile(r"[a-z0-9_-]{1,64}")
_VERSION: Final = re.compile(r"(?!\.)[A-Za-z0-9._+-]{1,64}")
_DATATYPES: Final = {"uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32", "float64": "FP64"}
_MOST_BYTES: Final = 1_000_000


class _Tensor(msgspec.Struct):
    name: str
    dtype: str
    shape: list[int | Literal["N"]]


class _Contract(msgspec.Struct):
    name: str
    version: str
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor: -1 in a shape is the free batch axis."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """What `/v2/models/NAME` answers."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelFolder:
    """`models/<name>/<version>/` of a device."""

    def __init__(self, folder: Path) -> None:
        """Look at it when asked."""
        self._folder = folder

    def names(self) -> list[str]:
        """Return the models that lie there."""
        return sorted({path.parent.parent.name for path in self._folder.glob(f"*/*/{CONTRACT_FILE}")})

    def versions(self, name: str) -> list[str]:
        """Return a model's versions, the oldest first."""
        if not _SLUG.fullmatch(name):
            return []
        return sorted((path.parent.name for path in (self._folder / name).glob(f"*/{CONTRACT_FILE}")), key=_by_number)

    def metadata(self, name: str, version: str, versions: list[str]) -> ModelMetadata | None:
        """Return what one of a model's versions takes and gives, None where there is none or it can't be read."""
        if not _SLUG.fullmatch(name) or not _VERSION.fullmatch(version):
            return None
        path = self._folder / name / version / CONTRACT_FILE
        try:
            if path.stat().st_size > _MOST_BYTES:
                return None
            contract = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Contract)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError):
            return None
        return ModelMetadata(
            contract.name, versions, PLATFORM, [_told(one) for one in contract.inputs],
            [_told(one) for one in contract.outputs],
        )  # fmt: skip


def _told(tensor: _Tensor) -> TensorMetadata:
    shape = [-1 if axis == "N" else axis for axis in tensor.shape]
    return TensorMetadata(tensor.name, _DATATYPES.get(tensor.dtype, tensor.dtype.upper()), shape)


def _by_number(version: str) -> list[tuple[int, str]]:
    """Numbers compare as numbers: 10 is above 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version)]
