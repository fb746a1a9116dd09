"""ONNX Runtime on an NVIDIA GPU (extra `gpu`, which takes the place of the CPU's wheel: see the hardware guide).

Options: `device` (0), `memory_mb` (1024: the arena's limit; cuDNN and the CUDA context come on top), `search`
("heuristic", in milliseconds at the first run of a shape; "exhaustive" tries every convolution, "default" none),
`tf32` (false: convolutions of float32 are float32), `cpu_nodes` (false).

Without `cpu_nodes` a model of which one node would run on the CPU is refused: each such node copies its tensors to the
host and back, which only shows in the tail of the latencies. ONNX Runtime puts small integer arithmetic on shapes there
by itself; a model with such nodes needs the option.
Options by https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from edge.config.section import Section
from edge.engines import PLAIN, Session, Setup, tensors_in, verified_model
from edge.host.nvidia import NO_GPU, gpu_name
from edge.models.ort_session import ORT_VERSION, Provider, load_cuda_libraries, missing_provider, open_session
from schemas.errors import ContractError

if TYPE_CHECKING:
    from edge.models.contract import Contract

PROVIDER: Final = "CUDAExecutionProvider"


class Options(Section):
    """`[runtime.options.cuda]`."""

    device: int = Field(default=0, ge=0, le=63)
    memory_mb: int = Field(default=1024, ge=64)
    search: Literal["heuristic", "exhaustive", "default"] = "heuristic"
    tf32: bool = False
    cpu_nodes: bool = False


def missing() -> str:
    """Return what lacks; see `edge.engines.EngineFile`."""
    return missing_provider(PROVIDER) or ("" if gpu_name() else NO_GPU)


def version() -> str:
    """Return what runs the models; see `edge.engines.Engine`."""
    return f"onnxruntime-gpu {ORT_VERSION}"


def load(contract: Contract, setup: Setup = PLAIN) -> Session:
    """Load a model; see `edge.engines.EngineFile`."""
    options = setup.read(Options)
    tensors_in(contract)
    if lacking := missing():
        raise ContractError([lacking])
    load_cuda_libraries()
    return open_session(contract, verified_model(contract), [provider(options)], cpu_nodes=options.cpu_nodes)


def provider(options: Options) -> Provider:
    """Return the provider with its options, in ONNX Runtime's words."""
    return PROVIDER, {
        "device_id": str(options.device),
        "gpu_mem_limit": str(options.memory_mb * 2**20),
        # The default doubles the arena at each growth: on a board whose memory is the GPU's too, that starves the rest.
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": options.search.upper(),
        # The workspace of the fastest convolution can be as large as the arena; 0 holds it to 32 MB.
        "cudnn_conv_use_max_workspace": "0" if options.memory_mb < 1024 else "1",
        "do_copy_in_default_stream": "1",
        "use_tf32": "1" if options.tf32 else "0",
    }
