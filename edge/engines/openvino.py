"""OpenVINO, for Intel's CPUs, GPUs and NPUs (extra `openvino`); it also runs on CPUs of others.

Options: `device` ("CPU", "GPU", "NPU", "GPU.1"), `threads` (1, of the CPU), `precision` ("f32"; "bf16" and "f16" where
the device has them: the golden vectors decide whether a model may run so). One stream, latency before throughput, and
the calling thread is not pinned: the real-time class and the affinity of the process are the operator's.

A CPU gets one graph for all batch sizes: one copy of the weights, and 6 % slower than a graph per size (measured at
64x64x3, batch 1). GPUs and NPUs compile for each size of batch, when it is first run: the runtime warms all of them.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from pydantic import Field

from edge.config.section import Section
from edge.engines import PLAIN, Session, Setup, Tensor, tensors_in, verified_model
from edge.models.agreement import Node, graph_problems
from edge.models.compiled import place_for
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.models.contract import Contract

# Its package of telemetry writes a client id into the home folder as soon as it is imported, and reports over HTTPS.
# Where that package is absent, OpenVINO goes without; only the uplink speaks to the outside.
sys.modules["openvino_telemetry"] = cast(ModuleType, None)
_ov: Any = importlib.import_module("openvino")  # by name: type checkers need not find what is optional
_RELEASE: Final = str(_ov.__version__).partition("-")[0]  # the rest is its build
_ERRORS: Final = (RuntimeError, ValueError, TypeError)
# How every writer of protobuf begins the place of a tensor that lies in a file beside the model (onnx.proto:
# external_data). OpenVINO would read it from wherever the process happens to stand, and no digest covers it.
_ELSEWHERE: Final = b"\n\x08location\x12"
_ANY: Final = 0  # the key of the one graph that takes every batch size


class Options(Section):
    """`[runtime.options.openvino]`."""

    device: str = Field(default="CPU", pattern=r"^(CPU|GPU|NPU)(\.\d+)?$")
    threads: int = Field(default=1, ge=1, le=64)
    precision: Literal["f32", "bf16", "f16"] = "f32"


class OpenVinoSession:
    """One model; `run` holds no lock while it computes."""

    concurrent = False  # a request is busy until it is answered

    def __init__(self, contract: Contract, inputs: Sequence[Tensor], model: Any, options: Options, how: Any) -> None:
        """Compile `model` for a CPU at once, for others when a size of batch comes."""
        self._where = f"model {contract.name} {contract.version}"
        self._inputs, self._device = inputs, options.device
        self._model: Any = model
        self._how: Any = how
        self._outputs = [output.name for output in contract.outputs]
        self._requests: dict[int, Any] = {}
        if self._one_graph:
            self._requests[_ANY] = self._compiled(_ANY)

    @property
    def _one_graph(self) -> bool:
        return self._device == "CPU"

    def run(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run a batch; see `edge.engines.Session`."""
        if self._model is None:
            raise ContractError([f"{self._where}: its session is closed"])
        if len(feed) != len(self._inputs):
            raise ContractError([f"{self._where} takes {', '.join(tensor.name for tensor in self._inputs)}"])
        try:
            request = self._request(len(feed[self._inputs[0].name]))
            for tensor in self._inputs:
                # What is not contiguous would be copied by OpenVINO too; the view is of the caller's memory.
                request.set_tensor(tensor.name, _ov.Tensor(np.ascontiguousarray(feed[tensor.name]), shared_memory=True))
            request.infer()
            # The request keeps its output memory for the next run.
            return {name: request.get_tensor(name).data.copy() for name in self._outputs}
        except KeyError as error:
            raise ContractError([f"{self._where}: input {error} is not fed"]) from error
        except _ERRORS as error:
            raise ContractError([f"{self._where}: OpenVINO could not run it: {error}"]) from error

    def close(self) -> None:
        """Drop the graphs."""
        self._requests.clear()
        self._model = self._how = None

    def _request(self, batch: int) -> Any:
        key = _ANY if self._one_graph else batch
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = self._compiled(key)
        return found

    def _compiled(self, batch: int) -> Any:
        model = self._model
        if batch != _ANY:
            model = model.clone()
            model.reshape({tensor.name: [batch, *tensor.shape] for tensor in self._inputs})
        return _core().compile_model(model, self._device, self._how).create_infer_request()


def missing() -> str:
    """Return "": a CPU is always there; see `edge.engines.EngineFile`."""
    return ""


def version() -> str:
    """Return what runs the models; see `edge.engines.Engine`."""
    return f"openvino {_RELEASE}"


def load(contract: Contract, setup: Setup = PLAIN) -> Session:
    """Load a model; see `edge.engines.EngineFile`."""
    options, inputs = setup.read(Options), tensors_in(contract)
    data = verified_model(contract)
    core, path = _core(), contract.model_path
    if _ELSEWHERE in data:
        raise ContractError([f"{path}: its weights lie in another file; save the model with them inside"])
    if options.device.partition(".")[0] not in {name.partition(".")[0] for name in core.available_devices}:
        there = ", ".join(core.available_devices) or "none"
        raise ContractError([f"OpenVINO finds no {options.device} here; there is {there} ([runtime.options.openvino])"])
    try:
        model = core.read_model(data, b"")
        if problems := graph_problems(contract, _nodes(model.inputs), _nodes(model.outputs)):
            raise ContractError(problems)
        return OpenVinoSession(contract, inputs, model, options, _config(options, setup.cache, contract))
    except _ERRORS as error:
        raise ContractError([f"{path}: OpenVINO can't load it: {error}"]) from error


def _config(options: Options, folder: Path | None, contract: Contract) -> dict[str, object]:
    found: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": options.precision}
    if options.device == "CPU":
        found |= {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": options.threads, "ENABLE_CPU_PINNING": False}
    if folder is not None:
        # OpenVINO's own key covers model, device and version; the name is for whoever looks into the folder.
        place = place_for(folder, f"{contract.sha256[:16]}-{options.device}-{options.precision}-{_RELEASE}")
        found["CACHE_DIR"] = str(place)
    return found


@cache
def _core() -> Any:
    """Return the process's one core: it holds the plugins, which take tens of milliseconds to load."""
    return _ov.Core()


def _nodes(ports: Sequence[Any]) -> list[Node]:
    return [
        Node(
            port.any_name,
            np.dtype(port.element_type.to_dtype()).name,
            [axis.get_length() if axis.is_static else None for axis in port.partial_shape],
        )
        for port in ports
    ]
