"""A model folder's contract: `models/<name>/<version>/{model.onnx, model.toml, golden.npz}`.

`Contract.load(folder)` reads model.toml, verifies that model.onnx and golden.npz are the files it speaks of (SHA-256),
and reports every problem of the folder at once. It never runs the model. A device compares the golden vectors with
its own engine's answers before the model may serve.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from pydantic_core import ErrorDetails

MODEL_FILE: Final = "model.onnx"
CONTRACT_FILE: Final = "model.toml"
GOLDEN_FILE: Final = "golden.npz"
BATCH_AXIS: Final = "N"

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Dtype = Literal["uint8", "int32", "int64", "float32", "float64"]
Axis = Annotated[int, Field(gt=0)] | Literal["N"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Channel(_Table):
    """One entry of an input's last axis: a colour plane, or a tag with its unit and the range to expect."""

    name: str
    unit: str
    low: float
    high: float

    @model_validator(mode="after")
    def _range_has_width(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be under high {self.high}")
        return self


class Input(_Table):
    """One input tensor. `N` is the free batch axis; the last axis runs over `channels`, in their order."""

    name: str
    dtype: Dtype
    shape: tuple[Axis, ...]
    channels: tuple[Channel, ...] = Field(min_length=1)
    sample_s: float | None = Field(default=None, gt=0, description="time between a window's samples, oldest first")

    @model_validator(mode="after")
    def _shape_fits(self) -> Self:
        if len(self.shape) < 2 or self.shape[0] != BATCH_AXIS:
            raise ValueError('shape must begin with "N" and have at least two axes')
        if self.shape[-1] != len(self.channels):
            raise ValueError(f"the last axis has {self.shape[-1]} entries, but {len(self.channels)} channels are named")
        return self


class Output(_Table):
    """One output tensor: a classifier's probabilities with their labels, or an anomaly score with its alarm level."""

    name: str
    dtype: Dtype
    shape: tuple[Axis, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    alarm_at: float | None = None

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.labels and self.shape[-1] != len(self.labels):
            raise ValueError(f"the last axis has {self.shape[-1]} entries, but {len(self.labels)} labels are named")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("each label must be named once")
        return self


class Measured(_Table):
    """What the model got right on data that it was not made from. `on` says which data."""

    on: str
    figures: dict[str, float]


class Timing(_Table):
    """Time of one run with a batch of one on one core, and the machine it was measured on."""

    machine: str
    runs: int = Field(gt=0)
    p50_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    worst_ms: float = Field(gt=0)


class GoldenFile(_Table):
    """The golden vectors' digest and how far an engine's answers may lie from them (absolute)."""

    sha256: Digest
    tolerance: float = Field(gt=0)


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs that they must give, by tensor name."""

    inputs: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, NDArray[np.generic]]
    tolerance: float

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return len(next(iter(self.inputs.values())))

    def problems(self, answers: Mapping[str, NDArray[np.generic]]) -> list[str]:
        """Say how an engine's answers to `inputs` differ from `outputs`; nothing when they agree."""
        found: list[str] = []
        for name, wanted in self.outputs.items():
            got = answers.get(name)
            if got is None or got.shape != wanted.shape:
                found.append(f"output {name}: shape {wanted.shape} expected, got {None if got is None else got.shape}")
                continue
            far = _far(got, wanted)
            if not far <= self.tolerance:
                found.append(f"output {name}: {far:.3g} away from its golden vector, {self.tolerance:.3g} is allowed")
        return found

    def deviation(self, answers: Mapping[str, NDArray[np.generic]]) -> float | None:
        """Return how far the answer that lies farthest is from what it must be; None where one can't be compared."""
        pairs = [(answers.get(name), wanted) for name, wanted in self.outputs.items()]
        far = [_far(got, wanted) for got, wanted in pairs if got is not None and got.shape == wanted.shape]
        return max(far) if len(far) == len(pairs) and all(map(math.isfinite, far)) else None


def _far(got: NDArray[np.generic], wanted: NDArray[np.generic]) -> float:
    import numpy as np  # who only reads contracts, as the agent, is spared its 13 MB

    return float(np.max(np.abs(np.subtract(got, wanted, dtype=np.float64))))


class Contract(_Table):
    """What a model promises: its files, tensors, labels, measured quality and time."""

    folder: Path
    name: Slug
    version: Slug
    kind: Literal["classifier", "anomaly", "detector"]
    summary: str
    sha256: Digest
    warm_batches: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    inputs: tuple[Input, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    measured: Measured
    timing: Timing
    golden: GoldenFile

    @classmethod
    def load(cls, folder: Path) -> Contract:
        """Read and verify a model folder; raises ContractError with every problem found."""
        tables = _read_toml(folder / CONTRACT_FILE)
        try:
            contract = cls.model_validate({**tables, "folder": folder})
        except ValidationError as error:
            raise ContractError([_explain(folder, problem) for problem in error.errors()]) from None
        if problems := contract._problems("folder" in tables):
            raise ContractError(problems)
        return contract

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    def read_golden(self) -> Golden:
        """Read the golden vectors; raises ContractError when the file is not what the contract's tensors need."""
        import numpy as np  # as above

        path = self.folder / GOLDEN_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                inputs = {tensor.name: arrays[f"in_{tensor.name}"] for tensor in self.inputs}
                outputs = {tensor.name: arrays[f"out_{tensor.name}"] for tensor in self.outputs}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ContractError([f"{path}: golden vectors can't be read ({error}); make the folder again"]) from error
        batches = {value.shape[:1] for value in inputs.values()}
        if len(batches) != 1 or batches & {(), (0,)}:
            raise ContractError([f"{path}: its inputs are not one batch of one size; make the folder again"])
        return Golden(inputs, outputs, self.golden.tolerance)

    def _problems(self, names_folder: bool) -> list[str]:
        """What only shows when the tables and the files are seen together."""
        where = self.folder / CONTRACT_FILE
        found = [f"{where}: folder: unknown key"] if names_folder else []
        if (self.folder.parent.name, self.folder.name) != (self.name, self.version):
            found.append(f"{where}: model {self.name} {self.version} must lie in models/{self.name}/{self.version}/")
        if self.kind == "classifier" and not self.outputs[0].labels:
            found.append(f"{where}: outputs.0.labels: a classifier names its labels")
        if self.kind == "anomaly" and self.outputs[0].alarm_at is None:
            found.append(f"{where}: outputs.0.alarm_at: an anomaly model says from which score on it alarms")
        if self.kind == "detector" and (problem := _detector_problem(self.outputs)):
            found.append(f"{where}: outputs: {problem}")
        for file, digest in ((MODEL_FILE, self.sha256), (GOLDEN_FILE, self.golden.sha256)):
            found += _digest_problems(self.folder / file, digest)
        return found


def _detector_problem(outputs: tuple[Output, ...]) -> str:
    """A detector gives its candidates before non-maximum suppression: that is a step of the pipeline."""
    boxes, scores = ({one.name: one.shape for one in outputs}.get(name) for name in ("boxes", "scores"))
    if boxes and scores and len(scores) == 2 and boxes == (*scores, 4):
        return ""
    return 'a detector gives "boxes" [N, K, 4] (x0, y0, x1, y1 in pixels of its input) and "scores" [N, K]'


def newest_version(folder: Path) -> str:
    """Return the highest version in `models/<name>/`, numbers compared as numbers (10 is above 9).

    Raises:
        ContractError: the folder holds no version.
    """
    versions = [path.parent.name for path in folder.glob(f"*/{CONTRACT_FILE}")]
    if not versions:
        raise ContractError(
            [f"{folder}: there is no version of this model; put one there as <version>/{CONTRACT_FILE}"]
        )
    return max(versions, key=lambda name: [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)])


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        files = f"{CONTRACT_FILE}, {MODEL_FILE} and {GOLDEN_FILE}"
        raise ContractError([f"{path}: not found; a model folder holds {files}"]) from None
    except (OSError, ValueError) as error:  # not TOML, not UTF-8, or a name that no file can have
        raise ContractError([f"{path}: can't be read as TOML: {error}"]) from error


def _digest_problems(path: Path, digest: str) -> list[str]:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [f"{path}: can't be read: {error.strerror}"]
    if found == digest:
        return []
    return [f"{path}: corrupt or of another version: SHA-256 is {found[:12]}..., the contract says {digest[:12]}..."]


def _explain(folder: Path, problem: ErrorDetails) -> str:
    """One pydantic problem as `file: key: what`, with the nearest valid key for an unknown one."""
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = {
            name
            for table in (Contract, Input, Output, Channel, Measured, Timing, GoldenFile)
            for name in table.model_fields
        }
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        message = "unknown key" + (f"; did you mean {near[0]}?" if near else "")
    return f"{folder / CONTRACT_FILE}: {key}: {message}"
