"""Which engine a device runs its models on: the one of its settings, or for `auto` the one that a probe chose.

`plantedge probe` measures the engines on the device's own models and writes `state/engine.json`. A choice that was made
on another machine counts for nothing: then it is `cpu`, and the log says why.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from edge.engines import Engine, load_engine
from edge.host.durable import write_durably
from edge.host.machine import fingerprint
from edge.host.nvidia import gpu_name

if TYPE_CHECKING:
    from pathlib import Path

    from edge.settings import Engine as EngineSettings

log = logging.getLogger(__name__)
AUTO: Final = "auto"
FALLBACK: Final = "cpu"
CHOICE_FILE: Final = "state/engine.json"
CACHE_FOLDER: Final = "state/engines"


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One engine on one model in one batch size; `problem` says why it has no times."""

    engine: str
    version: str
    model: str
    digest: str
    batch: int
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0
    problem: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe found: the engine, where and on what it was measured."""

    engine: str
    machine: str
    time_ns: int
    measured: list[Measurement]


def device_engine(settings: EngineSettings, home: Path) -> Engine:
    """Return the engine of a device, with its options and its folder for what it compiles.

    Raises:
        ContractError: it does not exist, its package is not installed, or an option is wrong.
    """
    name = chosen_engine(settings, home)
    return load_engine(name, settings.options.get(name), home / CACHE_FOLDER / name)


def chosen_engine(settings: EngineSettings, home: Path) -> str:
    """Return the name of the engine; where `auto` has to be cpu, the log says why, once."""
    name, why = choose_engine(settings, home)
    if why:
        _say_once(why)
    return name


def choose_engine(settings: EngineSettings, home: Path) -> tuple[str, str]:
    """Return the name of the engine, and why it is not a probe's choice though the settings ask for it."""
    if settings.engine != AUTO:
        return settings.engine, ""
    try:
        choice = read_choice(home)
    except FileNotFoundError:
        return FALLBACK, "nothing was measured yet"
    except (OSError, msgspec.DecodeError) as error:
        return FALLBACK, f"{CHOICE_FILE} can't be read ({error})"
    if choice.machine != machine():
        return FALLBACK, f"{CHOICE_FILE} was measured on {choice.machine}, this is {machine()}"
    return choice.engine, ""


def read_choice(home: Path) -> Choice:
    """Return what the last probe wrote; raises OSError or msgspec.DecodeError where there is nothing to be read."""
    return msgspec.json.decode((home / CHOICE_FILE).read_bytes(), type=Choice)


def write_choice(home: Path, choice: Choice) -> None:
    """Keep a probe's findings, whole or not at all."""
    write_durably(home / CHOICE_FILE, msgspec.json.format(msgspec.json.encode(choice)))


def machine() -> str:
    """Return what the times depend on: the processor with its instructions, the number of cores, the GPU."""
    return " ".join(filter(None, (fingerprint(), f"{os.cpu_count()} cores", gpu_name())))


@cache
def _say_once(why: str) -> None:
    log.warning("engine auto is %s: %s; run `plantedge probe`", FALLBACK, why)
