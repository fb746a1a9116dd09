"""`./run bench engines`: one run of a model, by each engine that is here, and by what was considered for `cpu`.

The floor is `cpu` (ONNX Runtime, one thread, no arena, plain run); windows of all are interleaved. Considered and not
taken: IO binding with the input rebound for each run, or copied into a fixed buffer, and the arena.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from edge.engines import engine_names, load_engine
from edge.models.contract import Contract
from edge.models.probing import available
from schemas.errors import ContractError
from tests.bench.machine import described
from tests.bench.shown import arguments, finish
from tests.bench.windows import Rounds, Window, interleave, p50, p99
from tests.edge.small_models import write_classifier

SHAPES = (((64, 64, 3), 1), ((64, 64, 3), 8), ((224, 224, 3), 1), ((224, 224, 3), 8))
WINDOW_S, LEAST = 0.25, 20  # a window is so long, and holds so many runs
Run = Callable[[], Any]


def considered(model: Path, picture: Any) -> dict[str, Run]:
    """Other ways of running the same session on the CPU."""

    def session(arena: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = arena
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    bound, with_arena = session(False), session(True)
    rebound, fixed = bound.io_binding(), bound.io_binding()
    held, answer = np.empty_like(picture), np.empty((len(picture), 2), np.float32)
    fixed.bind_input("image", "cpu", 0, held.dtype, held.shape, held.ctypes.data)
    fixed.bind_output("probabilities", "cpu", 0, answer.dtype, answer.shape, answer.ctypes.data)

    def rebind() -> Any:
        rebound.bind_cpu_input("image", picture)
        rebound.bind_output("probabilities")
        bound.run_with_iobinding(rebound)
        return rebound.copy_outputs_to_cpu()

    def copy_in() -> Any:
        held[:] = picture
        bound.run_with_iobinding(fixed)
        return answer.copy()

    return {
        "cpu, IO binding": rebind,
        "cpu, fixed buffers": copy_in,
        "cpu, arena": lambda: with_arena.run(["probabilities"], {"image": picture}),
    }


def engines(contract: Contract, picture: Any) -> dict[str, Run]:
    """Each engine that can run here, and OpenVINO in its shorter floats where the golden vectors were no hindrance."""
    found: dict[str, Run] = {}
    here, _ = available(engine_names())
    setups: list[tuple[str, str, Mapping[str, object]]] = [(name, name, {}) for name in here]
    if "openvino" in here:
        setups.append(("openvino, bf16", "openvino", {"precision": "bf16"}))
    for title, name, options in setups:
        try:
            session = load_engine(name, options).load(contract)
            session.run({"image": picture})
        except ContractError as error:
            print(f"{title}: left out: {error}", file=sys.stderr)
            continue
        found[title] = lambda session=session: session.run({"image": picture})  # type: ignore[misc]
    return found


def window(run: Run) -> Callable[[], Window]:
    """One window of back-to-back runs."""

    def take() -> Window:
        times: list[float] = []
        start = now = time.perf_counter()
        while now - start < WINDOW_S or len(times) < LEAST:
            begin, _, now = time.perf_counter(), run(), time.perf_counter()
            times.append((now - begin) * 1e6)
        return Window(np.array(times), now - start, len(times))

    return take


def measure(rounds: int) -> dict[str, Rounds]:
    """Every shape: each in turn, its contestants interleaved."""
    found: dict[str, Rounds] = {}
    for shape, batch in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            contract = Contract.load(write_classifier(Path(folder), shape=shape, deep=True))
            picture = np.random.default_rng(0).integers(0, 255, (batch, *shape)).astype(np.uint8)
            runs = engines(contract, picture) | considered(contract.model_path, picture)
            for run in runs.values():
                run()
            found[f"{'x'.join(map(str, shape))}, batch {batch}"] = interleave(
                {name: window(run) for name, run in runs.items()}, rounds
            )
    return found


def main() -> None:
    """Measure and print."""
    parser = arguments("engines", __doc__)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="windows of each (9)")
    given = parser.parse_args()
    table = Table("model", "by", "p50 us", "p99 us", "p50 over cpu", box=None)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for model, rounds in measure(given.rounds).items():
        for name in rounds.kept[0]:
            ratio = rounds.ratio(name, "cpu", p50)
            middle, tail = rounds.median(name, p50), rounds.median(name, p99)
            figures.setdefault(model, {})[name] = {"p50_us": middle, "p99_us": tail, "p50_over_cpu": ratio}
            table.add_row(model, name, f"{middle:.0f}", f"{tail:.0f}", f"{ratio:.3f}")
    console = Console()
    console.print(table)
    console.print(described(), highlight=False)
    finish(figures)


if __name__ == "__main__":
    main()
