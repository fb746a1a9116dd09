"""At 200 frames/s every sequence number that the camera publishes is accounted for, in the store and at the PLC too."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.messages import Outcome
from tests.conftest import ROOT
from tests.integration.account import EXPLAINED, FATES, Frames, frames_of, kept, repeated, tell, verdicts
from tests.integration.running_line import BULK, PIPELINE, Observer, RunningLine, stored, until

pytestmark = pytest.mark.alone

PARTS_PER_S = 200.0
CAMERA = "camera-cam1"
WINDOWS_S = 40.0  # insights come every 10 s, later on a machine that has no time
FIGURES = Path(os.environ.get("PLANTEDGE_FIGURES", ROOT / ".plantedge" / "figures"))


@asynccontextmanager
async def observed_line(work: Path) -> AsyncIterator[tuple[RunningLine, Observer]]:
    """A ready line, observed from its first frame."""
    line = RunningLine(work, PARTS_PER_S)
    try:
        await line.settled()
        async with Observer().watching(line) as observer:
            await line.ready()
            yield line, observer
    finally:
        line.stop()


async def quiesce(line: RunningLine, observer: Observer) -> None:
    """Pull the camera's cable, and wait until all that was on its way has been told and stored."""
    line.plant(do="fault", source="camera", kind="cut", for_s=600.0)
    await until(lambda: quiet(observer, "frame", 2.0) and quiet(observer, f"result {PIPELINE}", 2.0), "no frames", 30)
    await until(lambda: insights(observer) == len(observer.of(PIPELINE)), "the last window", WINDOWS_S)
    await until(lambda: unexplained(observer) <= 0, "outputs settled", 15)
    await until(lambda: stored_all(line, observer), "results stored", 30, 0.5)


def quiet(observer: Observer, what: str, for_s: float) -> bool:
    return asyncio.get_running_loop().time() - observer.last[what] > for_s


def insights(observer: Observer) -> int:
    return sum(insight.inputs for insight in observer.insights if insight.pipeline == PIPELINE)


def unexplained(observer: Observer) -> int:
    """Results of parts without an output, less those whose fate connect has counted."""
    without = sum(result.result_id not in observer.outputs for result in observer.of(PIPELINE))
    return without - sum(observer.counter("connect-plant", name) for name in EXPLAINED)


def stored_all(line: RunningLine, observer: Observer) -> bool:
    """Whether what was told since the historian's first subscription is in its store."""
    points = [one for one in stored(line.home, "result") if one.pipeline == PIPELINE]
    first = min((one.seq for one in points), default=1)
    told = {one.result_id for one in observer.of(PIPELINE) if one.seq >= first}
    return told <= {one.result_id for one in points}


async def account(work: Path, for_s: float) -> None:
    """Run the line, let it come to rest, and hold every account to its sum."""
    async with observed_line(work) as (line, observer):
        await asyncio.sleep(for_s)
        await quiesce(line, observer)
        plant = line.plant()
        state = line.state
        assert state is not None
        restarts = {child.name: child.restarts for child in state.children if child.restarts}
    figures = figures_of(line, observer, plant) | {"seconds": for_s, "restarts": restarts}
    tell(f"accounting-{for_s:g}s", figures, FIGURES)
    assert restarts == {}
    hold_frames(observer, figures["frames"])
    hold_store(line, observer, figures)
    hold_plant(plant)


def figures_of(line: RunningLine, observer: Observer, plant: dict[str, Any]) -> dict[str, Any]:
    gaps = sum(insight.gaps for insight in observer.insights if insight.pipeline == PIPELINE)
    results, outputs = stored(line.home, "result"), stored(line.home, "output")
    latencies = sorted(
        result.latency.total for result in observer.of(PIPELINE) if result.outcome is not Outcome.DROPPED
    )
    return {
        "frames": frames_of(observer, gaps),
        "camera_frames": observer.counter(CAMERA, "frames"),
        "camera_dropped": observer.counter(CAMERA, "dropped"),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "results_bulk": len(observer.of(BULK)),
        "stored": kept(results),
        "stored_outputs": kept(outputs),
        "stored_twice": repeated([one.result_id for one in results]) + repeated([one.result_id for one in outputs]),
        "outputs": len(observer.outputs),
        "outputs_failsafe": sum(output.failsafe for output in observer.outputs.values()),
        "without_output": {name: observer.counter("connect-plant", name) for name in EXPLAINED},
        "unexplained": unexplained(observer),
        "heard_twice": dict(observer.again),
        "verdicts": verdicts(observer, seed=1, defect_rate=0.05),
        "plant": {name: plant[name] for name in ("parts", *FATES, "late_writes", "pictures_replaced", "stalls")},
    }


def percentile(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else 0.0


def hold_frames(observer: Observer, epochs: list[Frames]) -> None:
    """Published = results + late + dropped + gaps, exactly."""
    assert len(epochs) == 1, "the camera was not started again"
    frames = epochs[0]
    assert frames.results + frames.late > 0
    assert frames.published == observer.counter(CAMERA, "frames")
    assert frames.missing == frames.gaps, "what has no result is a gap that an insight has counted"
    assert frames.unaccounted == 0
    assert all(frames.dropped), "each drop has its reason"


def hold_store(line: RunningLine, observer: Observer, figures: dict[str, Any]) -> None:
    """Each result is stored once, and has its output, or its absence is counted."""
    assert figures["stored_twice"] == []
    assert [one for one in figures["stored"] + figures["stored_outputs"] if one.holes] == [], (
        "what was told is not in the historian"
    )
    assert stored_all(line, observer)
    assert figures["heard_twice"] == {}
    assert max(observer.decisions.values()) == 1
    assert figures["unexplained"] == 0
    results = next(one for one in figures["stored"] if one.pipeline == PIPELINE)
    assert results.before + results.points == len(observer.of(PIPELINE))
    assert results.before < 5 * PARTS_PER_S, "the historian is there within seconds"


def hold_plant(plant: dict[str, Any]) -> None:
    """The plant's own count of its parts adds up."""
    assert plant["parts"] == sum(plant[name] for name in FATES)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_every_frame_is_accounted_for(tmp_path: Path) -> None:
    await account(tmp_path, 20.0)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_every_frame_of_ten_minutes_is_accounted_for(tmp_path: Path) -> None:
    await account(tmp_path, 600.0)
