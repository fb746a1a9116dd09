"""ONNX Runtime on the CPU: one thread, no spinning, no arena.

Measured on 64x64x3, 4 convolutions: the arena and memory patterns change p50 by less than 2 % (114-116 us), but an
arena keeps its memory when its session ends. Several threads per session fight for the cores of a small device.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from onnxruntime.capi import onnxruntime_pybind11_state as states  # type: ignore[import-untyped]  # nor does this

from edge.engines import Session, tensors_in, verified_model
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge.inference.contract import Contract, Input, Output

_ort: Any = onnxruntime
# ORT's errors share no base class but Exception, and their number grows; its Python side raises the first two.
_ERRORS: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    ValueError,
    *(
        kind
        for kind in vars(cast(ModuleType, states)).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)
_DTYPES: Final = {
    "tensor(uint8)": "uint8", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(float)": "float32", "tensor(double)": "float64",
}  # fmt: skip


class _Node(Protocol):
    """A tensor of a graph; an axis is a number, a name, or None where nothing is said."""

    name: str
    type: str
    shape: list[int | str | None]


class _OrtSession(Protocol):
    """What we use of onnxruntime.InferenceSession."""

    def run(self, outputs: list[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...
    def get_inputs(self) -> Sequence[_Node]: ...
    def get_outputs(self) -> Sequence[_Node]: ...


class CpuSession:
    """One model; `run` holds no lock while it computes."""

    def __init__(self, session: _OrtSession, contract: Contract) -> None:
        """Keep what `run` needs."""
        self._where = f"model {contract.name} {contract.version}"
        self._outputs = [output.name for output in contract.outputs]
        self._session: _OrtSession | None = session

    def run(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run a batch; see `edge.engines.Session`."""
        if self._session is None:
            raise ContractError([f"{self._where}: its session is closed"])
        try:
            found = self._session.run(self._outputs, feed)
        except _ERRORS as error:
            raise ContractError([f"{self._where}: ONNX Runtime could not run it: {error}"]) from error
        return dict(zip(self._outputs, found, strict=True))

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def version() -> str:
    """Return ONNX Runtime's version; see `edge.engines.Engine`."""
    return f"onnxruntime {_ort.__version__}"


def load(contract: Contract) -> Session:
    """Load a model; see `edge.engines.Engine`."""
    tensors_in(contract)
    model = verified_model(contract)
    try:
        session: _OrtSession = _ort.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        raise ContractError([f"{contract.model_path}: ONNX Runtime can't load it: {error}"]) from error
    if problems := _problems(session, contract):
        raise ContractError(problems)
    return CpuSession(session, contract)


def _options() -> object:
    options = _ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = _ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what fails is raised, and said once by us
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights in files beside the model are not under its digest; without this they are read from the working folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    return options


def _problems(session: _OrtSession, contract: Contract) -> list[str]:
    """How the graph's tensors differ from the contract's."""
    path, inputs, outputs = contract.model_path, session.get_inputs(), session.get_outputs()
    named = {tensor.name for tensor in contract.inputs}
    found = [f"{path}: input {node.name} is not in its contract" for node in inputs if node.name not in named]
    for tensor in contract.inputs:
        found += _differences(f"{path}: input {tensor.name}", tensor, inputs)
    for output in contract.outputs:
        found += _differences(f"{path}: output {output.name}", output, outputs)
    return found


def _differences(where: str, tensor: Input | Output, nodes: Sequence[_Node]) -> list[str]:
    node = next((node for node in nodes if node.name == tensor.name), None)
    if node is None:
        return [f"{where} is not in the graph, which has {', '.join(node.name for node in nodes)}"]
    if _DTYPES.get(node.type) == tensor.dtype and _fits(node.shape, tensor.shape):
        return []
    return [f"{where} is {node.type} {node.shape} in the graph, {tensor.dtype} {list(tensor.shape)} in its contract"]


def _fits(graph: list[int | str | None], wanted: tuple[int | str, ...]) -> bool:
    """Whether every axis that the graph fixes is the contract's; its named and unknown axes fit any size."""
    return len(graph) == len(wanted) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(graph, wanted, strict=True)
    )
