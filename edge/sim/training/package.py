"""Writes a model folder that keeps its contract: model.onnx, golden.npz and model.toml, with times measured here."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import onnx

from edge.engines import cpu
from edge.models.contract import (
    CONTRACT_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    Contract,
    GoldenFile,
    Input,
    Measured,
    Output,
    Timing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edge.engines import Session

COMMAND: Final = "python -m edge.sim.training"
_RUNS: Final = 3000
_TRIES: Final = 10 * _RUNS
_WARM_UP: Final = 200


@dataclass(frozen=True)
class Draft:
    """A contract before its files exist."""

    name: str
    version: str
    kind: Literal["classifier", "anomaly", "detector"]
    summary: str
    warm_batches: tuple[int, ...]
    input: Input
    outputs: tuple[Output, ...]
    tolerance: float


def write_model(
    models: Path,
    draft: Draft,
    model: onnx.ModelProto,
    golden: NDArray[np.generic],
    measure: Callable[[Session], Measured],
) -> Contract:
    """Write `models/<name>/<version>/`, read it back through `Contract.load` and return that."""
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    folder = models / draft.name / draft.version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(data)
    promised = {
        "folder": folder,
        "name": draft.name,
        "version": draft.version,
        "kind": draft.kind,
        "summary": draft.summary,
        "sha256": hashlib.sha256(data).hexdigest(),
        "warm_batches": draft.warm_batches,
        "inputs": (draft.input,),
        "outputs": draft.outputs,
    }
    session = cpu.load(Contract.model_construct(None, **promised))  # the rest of the contract is what this measures
    _write_golden(folder / GOLDEN_FILE, draft, golden, session)
    contract = Contract.model_validate(
        promised
        | {
            "measured": measure(session),
            "timing": _time(session, {draft.input.name: golden[:1]}),
            "golden": GoldenFile(sha256=_digest(folder / GOLDEN_FILE), tolerance=draft.tolerance),
        }
    )
    (folder / CONTRACT_FILE).write_text(_as_toml(contract), encoding="utf-8")
    return Contract.load(folder)


def scorer(session: Session) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the anomaly model in `session` as a function from its input `window` [N, W, C] to scores [N]."""
    return lambda windows: session.run({"window": windows.astype(np.float32)})["score"].astype(np.float64)


def _write_golden(path: Path, draft: Draft, golden: NDArray[np.generic], session: Session) -> None:
    answers = session.run({draft.input.name: golden})
    arrays = {f"in_{draft.input.name}": golden} | {f"out_{one.name}": answers[one.name] for one in draft.outputs}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _time(session: Session, one: Mapping[str, NDArray[np.generic]]) -> Timing:
    for _ in range(_WARM_UP):
        session.run(one)
    taken_ms: list[float] = []
    for _ in range(_TRIES):
        preempted, start = getrusage(RUSAGE_THREAD).ru_nivcsw, time.perf_counter_ns()
        session.run(one)
        if getrusage(RUSAGE_THREAD).ru_nivcsw == preempted:
            taken_ms.append((time.perf_counter_ns() - start) / 1e6)
        if len(taken_ms) == _RUNS:
            break
    p50, p99, worst = (round(float(np.percentile(taken_ms, share)), 4) for share in (50, 99, 100))
    return Timing(machine=_machine(), runs=len(taken_ms), p50_ms=p50, p99_ms=p99, worst_ms=worst)


def _machine() -> str:
    """One line: processor, cores, kernel, engine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{cpu}, {len(names) or '?'} cores shared with other work, {platform.system()}, "
        f"onnxruntime {version('onnxruntime')}, default scheduler, runs that were preempted left out"
    )


def _as_toml(contract: Contract) -> str:
    tables = contract.model_dump(mode="json", exclude={"folder"}, exclude_none=True, exclude_defaults=True)
    lines = [f"# Generated, do not edit: {COMMAND} {contract.name}"]
    lines += [f"{key} = {_value(item)}" for key, item in tables.items() if not _is_table(item)]
    for key, item in tables.items():
        if not _is_table(item):
            continue
        heading = f"[[{key}]]" if isinstance(item, list) else f"[{key}]"
        for table in item if isinstance(item, list) else [item]:
            lines += ["", heading, *(f"{name} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _is_table(item: object) -> bool:
    return isinstance(item, dict) or (isinstance(item, list) and isinstance(item[0], dict))


def _value(item: object) -> str:
    if isinstance(item, dict):
        return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in item.items()) + " }"
    if isinstance(item, list):
        inner = [_value(value) for value in item]
        return "[\n  " + ",\n  ".join(inner) + ",\n]" if _is_table(item) else "[" + ", ".join(inner) + "]"
    return json.dumps(item, ensure_ascii=False)
