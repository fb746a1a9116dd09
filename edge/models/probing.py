"""Measures engines against each other on the device's own models: interleaved, so that all meet the same machine.

The best engine is the one that runs every model as its golden vectors say, with the lowest p99 of a batch of one. `cpu`
gives way only for a tenth: fewer parts can fail.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from edge.engines import engine_file, load_engine
from edge.models.contract import Contract
from edge.models.engine_choice import CACHE_FOLDER, FALLBACK, Measurement
from edge.models.loaded import LoadedModel, load_model
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.settings import Engine as EngineSettings

_ROUNDS: Final = 20
_TURN_NS: Final = 25_000_000  # of one engine in one round
_WORTH: Final = 0.9


class _Arm(NamedTuple):
    """One engine that runs a model."""

    engine: str
    version: str
    model: LoadedModel


def available(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return which engines can run on this machine, and of the others why not."""
    found: list[str] = []
    lacking: dict[str, str] = {}
    for name in names:
        try:
            reason = engine_file(name).missing()
        except ContractError as error:
            reason = str(error)
        if reason:
            lacking[name] = reason
        else:
            found.append(name)
    return found, lacking


def measure(
    folder: Path, engines: Sequence[str], settings: EngineSettings, home: Path, say: Callable[[str], None]
) -> list[Measurement]:
    """Measure engines on the model of `folder`: a batch of one, and the largest that it is warm for."""
    contract = Contract.load(folder)
    found: list[Measurement] = []
    arms: list[_Arm] = []
    try:
        for name in engines:
            say(f"{contract.name} {contract.version}: loading it with {name}")
            try:
                engine = load_engine(name, settings.options.get(name), home / CACHE_FOLDER / name)
                arms.append(_Arm(name, engine.version(), load_model(folder, engine)))
            except ContractError as error:
                found.append(_problem(name, contract, str(error)))
        for batch in sorted({1, max(contract.warm_batches)}):
            say(f"{contract.name} {contract.version}: batch {batch}")
            times = _interleaved(arms, batch)
            found += [_measured(arm, contract, batch, times[arm.engine]) for arm in arms]
    finally:
        for arm in arms:
            arm.model.session.close()
    return found


def best(measured: Sequence[Measurement]) -> str:
    """Return the engine to use."""
    digests = {one.digest for one in measured}
    p99 = {(one.engine, one.digest): one.p99_ms for one in measured if one.batch == 1 and not one.problem}
    shares = {
        engine: math.prod(p99[engine, digest] / p99[FALLBACK, digest] for digest in digests) ** (1 / len(digests))
        for engine in {engine for engine, _ in p99}
        if digests and all((engine, digest) in p99 and (FALLBACK, digest) in p99 for digest in digests)
    }
    winner = min(shares, key=lambda engine: shares[engine], default=FALLBACK)
    return winner if shares.get(winner, 1.0) < _WORTH else FALLBACK


def _interleaved(arms: Sequence[_Arm], batch: int) -> dict[str, NDArray[np.float64]]:
    """Return each engine's times in milliseconds; they take turns, each round in another order."""
    feeds = [arm.model.golden_batch(batch) for arm in arms]
    times: dict[str, list[float]] = {arm.engine: [] for arm in arms}
    for turn in range(_ROUNDS):
        for place in range(len(arms)):
            which = (turn + place) % len(arms)
            arm, feed = arms[which], feeds[which]
            end_ns = time.monotonic_ns() + _TURN_NS
            while True:
                start_ns = time.monotonic_ns()
                arm.model.session.run(feed)
                stop_ns = time.monotonic_ns()
                times[arm.engine].append((stop_ns - start_ns) / 1e6)
                if stop_ns >= end_ns:
                    break
    return {engine: np.array(found) for engine, found in times.items()}


def _measured(arm: _Arm, contract: Contract, batch: int, times: NDArray[np.float64]) -> Measurement:
    p50, p99, worst = (float(value) for value in np.percentile(times, (50, 99, 100)))
    return Measurement(
        engine=arm.engine, version=arm.version, model=f"{contract.name} {contract.version}", digest=contract.sha256,
        batch=batch, p50_ms=p50, p99_ms=p99, worst_ms=worst,
    )  # fmt: skip


def _problem(engine: str, contract: Contract, problem: str) -> Measurement:
    model = f"{contract.name} {contract.version}"
    return Measurement(engine=engine, version="", model=model, digest=contract.sha256, batch=1, problem=problem)
