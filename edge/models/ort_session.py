"""A session of ONNX Runtime: what the engines on it share (cpu, cuda, tensorrt).

It runs on the providers that were asked for or not at all. ONNX Runtime by itself goes on with the CPU when a provider
does not come up, and retries a failed run there; both are switched off.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from edge.models.agreement import Node, graph_problems
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge.models.contract import Contract

log = logging.getLogger(__name__)
Provider = tuple[str, dict[str, str]]

# From 1.29 on, ONNX Runtime reports its use to its maker over HTTPS and keeps a device id and a store of events in the
# home folder, unless it is told not to before it is loaded (its Privacy.md). Only the uplink speaks to the outside.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
_ort: Any = importlib.import_module("onnxruntime")  # it ships no types
# ORT's errors share no base class but Exception, and their number grows; its Python side raises the first two.
_ERRORS: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    ValueError,
    *(
        kind
        for kind in cast(dict[str, object], vars(_ort.capi.onnxruntime_pybind11_state)).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)
_DTYPES: Final = {
    "tensor(uint8)": "uint8", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(float)": "float32", "tensor(double)": "float64",
}  # fmt: skip
ORT_VERSION: Final[str] = _ort.__version__
CPU: Final = "CPUExecutionProvider"


class _OrtNode(Protocol):
    name: str
    type: str
    shape: list[int | str | None]


class _OrtSession(Protocol):
    """What we use of onnxruntime.InferenceSession."""

    def run(self, outputs: list[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...
    def get_inputs(self) -> Sequence[_OrtNode]: ...
    def get_outputs(self) -> Sequence[_OrtNode]: ...
    def get_providers(self) -> list[str]: ...


class OrtSession:
    """One model; `run` holds no lock while it computes."""

    concurrent = True  # InferenceSession.run is thread-safe

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


def missing_provider(name: str) -> str:
    """Return why a provider can't come up: the installed ONNX Runtime was not built with it; "" if it was."""
    if name in _ort.get_available_providers():
        return ""
    return (
        f"ONNX Runtime {ORT_VERSION} has no {name} here: it is of {' and '.join(_distributions()) or 'no wheel'}."
        " onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install onnxruntime-gpu"
        " (docs/explanation/hardware-guide.md)"
    )


@cache
def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from their wheels, where they came as such; what lacks is logged, once a process."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        _ort.preload_dlls(directory="")
    if text := " ".join(said.getvalue().split()):
        log.warning("CUDA: %s", text)


def open_session(
    contract: Contract, model: bytes, providers: Sequence[Provider], *, threads: int = 1, cpu_nodes: bool = True
) -> OrtSession:
    """Load `model` on `providers`, the first of which must come up; without `cpu_nodes` no node may fall to the CPU.

    Raises:
        ContractError: it can't be loaded so, or is not what its contract says.
    """
    path, names = contract.model_path, [name for name, _ in providers]
    try:
        session: Any = _ort.InferenceSession(
            model, _options(threads, cpu_nodes=cpu_nodes), providers=list(providers), enable_fallback=0
        )
    except _ERRORS as error:
        hint = "" if cpu_nodes else f" (either {names[0]} did not come up, or the option cpu_nodes is needed)"
        raise ContractError([f"{path}: ONNX Runtime can't load it on {', '.join(names)}: {error}{hint}"]) from error
    session._model_bytes = None  # it keeps the file's bytes for the fallback that we don't take
    opened: _OrtSession = session
    if names[0] not in opened.get_providers():
        there = ", ".join(opened.get_providers())
        remedy = "see the lines of ONNX Runtime above; its driver and libraries must fit each other"
        raise ContractError([f"{path}: {names[0]} did not come up (there is {there}); {remedy}"])
    if problems := graph_problems(contract, _nodes(opened.get_inputs()), _nodes(opened.get_outputs())):
        raise ContractError(problems)
    return OrtSession(opened, contract)


def _options(threads: int, *, cpu_nodes: bool) -> object:
    options = _ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = _ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what fails is raised, and said once by us
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights in files beside the model are not under its digest; without this they are read from the working folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    if not cpu_nodes:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _nodes(found: Sequence[_OrtNode]) -> list[Node]:
    return [Node(node.name, _DTYPES.get(node.type, node.type), node.shape) for node in found]


def _distributions() -> list[str]:
    """The installed wheels that bring a package of this name."""
    found: list[str] = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
