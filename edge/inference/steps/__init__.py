"""What a pipeline does around its models: one file per op, the file's name is the `op` of the settings.

An op is a module with `Options` (a table of settings) and `make(options, taken) -> Step`, which checks once what it is
given, so that a graph that was made can be run. It is loaded when first asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from pydantic import ValidationError

from schemas.errors import ContractError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.config.section import Section

Value = Mapping[str, "NDArray[Any]"]


class Spec(NamedTuple):
    """One tensor without its first axis, which runs over the batch, or over what was found in one input."""

    dtype: str
    shape: tuple[int, ...]


Specs = Mapping[str, Spec]


class Step(Protocol):
    """One node of a graph. `rowwise`: each row comes from its own row, so that inputs can be run as a batch."""

    @property
    def rowwise(self) -> bool:
        """Whether rows stay rows."""
        ...

    @property
    def most_rows(self) -> int:
        """How many rows one input gives at most; 0: as many as it takes."""
        ...

    @property
    def gives(self) -> Specs:
        """What `run` returns."""
        ...

    def run(self, *taken: Value) -> Value:
        """Compute the outputs by name."""
        ...


class Op(Protocol):
    """A file of this folder."""

    Options: type[Section]

    def make(self, options: Any, taken: Sequence[Specs]) -> Step:
        """Return the step for what it takes.

        Raises:
            ContractError: it can't take that.
        """
        ...


def op_names() -> tuple[str, ...]:
    """Return the ops that there are files of."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))


def load_op(name: str) -> Op:
    """Return the op `edge/inference/steps/{name}.py`.

    Raises:
        ContractError: there is no such file.
    """
    if name not in op_names():
        raise ContractError([f"there is no op {name!r}; there are {', '.join(op_names())}"])
    return cast(Op, importlib.import_module(f"{__name__}.{name}"))


def make_step(op: str, options: Mapping[str, object], taken: Sequence[Specs]) -> Step:
    """Return a step of an op.

    Raises:
        ContractError: there is no such op, its options are wrong, or it can't take what it is given.
    """
    module = load_op(op)
    return module.make(read_options(op, options), taken)


def read_options(op: str, options: Mapping[str, object]) -> Section:
    """Return an op's options, checked.

    Raises:
        ContractError: every key that is unknown or has a wrong value.
    """
    try:
        return load_op(op).Options.model_validate(dict(options))
    except ValidationError as error:
        known = ", ".join(load_op(op).Options.model_fields)
        raise ContractError(
            [
                f"op {op}: options.{'.'.join(map(str, found['loc']))}: {found['msg'].removeprefix('Value error, ')}"
                + (f"; there are {known}" if found["type"] == "extra_forbidden" else "")
                for found in error.errors()
            ]
        ) from None


def only(op: str, taken: Sequence[Specs], axes: int) -> Spec:
    """Return the one tensor that an op takes, which has `axes` axes beside the first.

    Raises:
        ContractError: there is another number of them.
    """
    tensors = [spec for specs in taken for spec in specs.values()]
    if len(tensors) != 1 or len(tensors[0].shape) != axes:
        found = ", ".join(f"{spec.dtype} {list(spec.shape)}" for spec in tensors) or "nothing"
        raise ContractError([f"op {op} takes one tensor of {axes} axes beside the first, and is given {found}"])
    return tensors[0]
