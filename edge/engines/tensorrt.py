"""TensorRT under ONNX Runtime, for NVIDIA GPUs (extra `gpu` and TensorRT's own libraries: see the hardware guide).

Options: `device` (0), `precision` ("fp32"; "fp16"; "int8" for models with quantise and dequantise nodes, which carry
their scales), `workspace_mb` (1024), `effort` (3: 0 builds fastest, 5 searches longest), `cpu_nodes` (false, as in
cuda). The golden vectors decide whether a model may run in less than float32.

TensorRT builds an engine for the model and this GPU, which takes minutes, once: it is kept in the device folder, under
the model's digest, GPU, ONNX Runtime and TensorRT. One engine serves all batch sizes from 1 to the largest warm one.
What TensorRT can't run goes to the CUDA provider.
Options by https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from edge.config.section import Section
from edge.engines import PLAIN, Session, Setup, Tensor, tensors_in, verified_model
from edge.host.nvidia import NO_GPU, NO_TENSORRT, gpu_name, tensorrt_version
from edge.models.compiled import place_for
from edge.models.ort_session import ORT_VERSION, Provider, load_cuda_libraries, missing_provider, open_session
from schemas.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.models.contract import Contract

log = logging.getLogger(__name__)
PROVIDER: Final = "TensorrtExecutionProvider"


class Options(Section):
    """`[runtime.options.tensorrt]`."""

    device: int = Field(default=0, ge=0, le=63)
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    workspace_mb: int = Field(default=1024, ge=16)
    effort: int = Field(default=3, ge=0, le=5)
    cpu_nodes: bool = False


def missing() -> str:
    """Return what lacks; see `edge.engines.EngineFile`."""
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorrt_libs")  # the wheel's way to load them; else they are the system's
    lacking = missing_provider(PROVIDER) or ("" if gpu_name() else NO_GPU)
    return lacking or ("" if tensorrt_version() else NO_TENSORRT)


def version() -> str:
    """Return what runs the models; see `edge.engines.Engine`."""
    return f"onnxruntime-gpu {ORT_VERSION} with tensorrt {tensorrt_version() or 'absent'}"


def load(contract: Contract, setup: Setup = PLAIN) -> Session:
    """Load a model; see `edge.engines.EngineFile`."""
    options = setup.read(Options)
    inputs = tensors_in(contract)
    if lacking := missing():
        raise ContractError([lacking])
    load_cuda_libraries()
    model = verified_model(contract)
    folder = _folder(setup.cache, contract, options)
    kept = bool(folder and any(folder.glob("*.engine")))
    if not kept:
        log.info("TensorRT builds %s %s for this GPU, which can take minutes", contract.name, contract.version)
    began_s = time.monotonic()
    largest = max(*contract.warm_batches, len(next(iter(contract.read_golden().inputs.values()))))
    fallback: Provider = ("CUDAExecutionProvider", {"device_id": str(options.device)})
    providers = [provider(options, inputs, largest, folder), fallback]
    session = open_session(contract, model, providers, cpu_nodes=options.cpu_nodes)
    if not kept:
        log.info("TensorRT built %s in %.0f s", contract.name, time.monotonic() - began_s)
    return session


def provider(options: Options, inputs: tuple[Tensor, ...], largest: int, folder: Path | None) -> Provider:
    """Return the provider with its options, in ONNX Runtime's words. `largest`: batch; `folder`: of built engines."""
    found = {
        "device_id": str(options.device),
        "trt_max_workspace_size": str(options.workspace_mb * 2**20),
        "trt_fp16_enable": str(int(options.precision != "fp32")),
        "trt_int8_enable": str(int(options.precision == "int8")),
        "trt_builder_optimization_level": str(options.effort),
        "trt_profile_min_shapes": _shapes(inputs, 1),
        "trt_profile_opt_shapes": _shapes(inputs, 1),
        "trt_profile_max_shapes": _shapes(inputs, largest),
    }
    if folder is not None:
        found |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder.parent),
        }
    return PROVIDER, found


def _folder(cache: Path | None, contract: Contract, options: Options) -> Path | None:
    """Return where this model's engine for this GPU lies; None without a place for it."""
    if cache is None:
        return None
    where = f"{gpu_name(options.device)}-ort{ORT_VERSION}-trt{tensorrt_version()}"
    return place_for(cache, f"{contract.sha256[:16]}-{options.precision}-{options.effort}-{where}")


def _shapes(inputs: tuple[Tensor, ...], batch: int) -> str:
    return ",".join(f"{tensor.name}:{'x'.join(map(str, (batch, *tensor.shape)))}" for tensor in inputs)
