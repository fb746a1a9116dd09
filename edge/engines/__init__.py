"""What runs a model: one file per engine, its name is the `engine` of the settings; loaded when first asked for.

An engine is a module with what `EngineFile` says. It runs exactly the bytes
whose digest it has checked, and refuses with a ContractError that says what is wrong: it never falls back to another
device.
The conformance test is tests/edge/test_engines.py.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import numpy as np
from pydantic import ValidationError

from edge.config.section import Section
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.models.contract import Contract


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of a model; `shape` is without the batch axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of one."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


class Session(Protocol):
    """A model in memory. Its calls come from one thread at a time, unless it is `concurrent`."""

    concurrent: bool  # whether `run` may be called from several threads at once

    def run(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the outputs by name for the inputs by name, each of its contract's dtype and shape.

        The first axis of all is the batch, of one size. The answer is the caller's to keep.

        Raises:
            ContractError: the engine could not run it.
        """
        ...

    def close(self) -> None:
        """Give the memory back; `run` must not be called again."""
        ...


T = TypeVar("T", bound=Section)


@dataclass(frozen=True)
class Setup:
    """How a device wants an engine: the table `[runtime.options.NAME]`, and a folder for what it compiles, if any."""

    name: str = ""
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    cache: Path | None = None

    def read(self, kind: type[T]) -> T:
        """Return the options as the engine's own model of them.

        Raises:
            ContractError: every option that it does not know, or whose value it can't take.
        """
        try:
            return kind.model_validate(dict(self.options), strict=True)
        except ValidationError as error:
            where = f"[runtime.options.{self.name}]"
            known = f"there are {', '.join(kind.model_fields) or 'none'}"
            raise ContractError(
                [
                    f"{where} {'.'.join(map(str, one['loc']))}: "
                    + (f"not known; {known}" if one["type"] == "extra_forbidden" else one["msg"])
                    for one in error.errors()
                ]
            ) from None


PLAIN: Final = Setup()


class Engine(Protocol):
    """What loads models: an engine with its setup."""

    @property
    def setup(self) -> Setup:
        """Its name and options."""
        ...

    def version(self) -> str:
        """Return what computes, with its version: two answers are only equal to the bit where it is the same."""
        ...

    def load(self, contract: Contract) -> Session:
        """Load a model whose contract was read; blocks for tens of milliseconds (tensorrt: for minutes, once).

        Raises:
            ContractError: the file is missing, corrupt, or not what its contract says.
        """
        ...


class EngineFile(Protocol):
    """A file of this folder. `Options`: its table in the settings."""

    Options: type[Section]

    def missing(self) -> str:
        """Return what this machine lacks to run it and what to do, "" if nothing; loading says the same."""
        ...

    def version(self) -> str:
        """Return what computes, with its version; see `Engine`."""
        ...

    def load(self, contract: Contract, setup: Setup = PLAIN) -> Session:
        """Load a model; see `Engine`."""
        ...


@dataclass(frozen=True)
class _SetEngine:
    """An engine's file with what the device's settings say of it."""

    file: EngineFile
    setup: Setup

    def version(self) -> str:
        return self.file.version()

    def load(self, contract: Contract) -> Session:
        return self.file.load(contract, self.setup)


def engine_names() -> tuple[str, ...]:
    """Return the names of the engines that this installation has files of."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))


def load_engine(name: str, options: Mapping[str, object] | None = None, cache: Path | None = None) -> Engine:
    """Return the engine `edge/engines/{name}.py` with its options; `cache`: a folder for what it compiles.

    Raises:
        ContractError: there is no such file, a package that it needs is not installed, or an option is wrong.
    """
    file = engine_file(name)
    setup = Setup(name, options or {}, cache)
    setup.read(file.Options)
    return _SetEngine(file, setup)


def engine_file(name: str) -> EngineFile:
    """Return the module of an engine.

    Raises:
        ContractError: there is no such file, or a package that it needs is not installed.
    """
    if name not in engine_names():
        raise ContractError([f"there is no engine {name!r}; there are {', '.join(engine_names())} ([runtime] engine)"])
    try:
        return cast(EngineFile, importlib.import_module(f"{__name__}.{name}"))
    except ImportError as error:
        raise ContractError([f"engine {name!r} needs a package that is not installed: {error}"]) from error


def verified_model(contract: Contract) -> bytes:
    """Return the bytes of model.onnx after checking their digest: what is checked is what is loaded.

    Raises:
        ContractError: missing, unreadable or of another digest.
    """
    try:
        model = contract.model_path.read_bytes()
    except OSError as error:
        raise ContractError([f"{contract.model_path}: can't be read: {error.strerror}"]) from error
    digest = hashlib.sha256(model).hexdigest()
    if digest != contract.sha256:
        raise ContractError([f"{contract.model_path}: its SHA-256 is {digest}, the contract says {contract.sha256}"])
    return model


def tensors_in(contract: Contract) -> tuple[Tensor, ...]:
    """Return what a model takes.

    Raises:
        ContractError: an input has a free axis besides the first, which all inputs share as their batch.
    """
    found: list[Tensor] = []
    for tensor in contract.inputs:
        shape = tuple(axis for axis in tensor.shape[1:] if isinstance(axis, int))
        if len(shape) != len(tensor.shape) - 1:
            raise ContractError(
                [f"model {contract.name} {contract.version}: the only free axis of input {tensor.name} is the first"]
            )
        found.append(Tensor(tensor.name, tensor.dtype, shape))
    return tuple(found)
