"""Which pipelines a camera feeds, by the settings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.config.pipeline import FrameInput
from edge.settings import Settings

SIMULATED: Final = frozenset({"plant", "folder"})  # cameras that show no line


@dataclass(frozen=True)
class Pipeline:
    """What the settings say of a pipeline that a camera feeds. `otherwise`: it runs without a recipe, too."""

    name: str
    camera: str  # of [cameras], "" for none
    simulated: bool
    lane: str
    models: tuple[str, ...]
    recipes: tuple[str, ...]
    source: str  # of the recipe's tag
    tag: str
    otherwise: bool
    max_age_ms: float  # for so long its last Good value holds
    modified_ns: int


def pipelines_of(settings: Settings, home: Path) -> list[Pipeline]:
    """Return those pipelines that a camera feeds."""
    found: list[Pipeline] = []
    for name, one in sorted(settings.pipelines.items()):
        if not isinstance(one.input, FrameInput):
            continue
        stream = one.input.frames
        camera = next((key for key, held in settings.cameras.items() if (held.stream or key) == stream), "")
        simulated = camera != "" and settings.cameras[camera].driver in SIMULATED
        recipe = one.recipe
        found.append(Pipeline(
            name, camera, simulated, one.lane, tuple(one.models), tuple(one.choices), recipe.source if recipe else "",
            recipe.tag if recipe else "", recipe is None or recipe.otherwise == "default",
            recipe.max_age_ms if recipe else 0.0, _modified_ns(home / "pipelines" / f"{name}.toml"),
        ))  # fmt: skip
    return found


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return time.time_ns()  # pipelines may stand in device.toml
