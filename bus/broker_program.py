"""A broker that was found on this machine, and how its candidates are tried."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bus import MqttVersion

Say = Callable[[str], None]
_RUN_S = 20.0
AMQTT_WARNING = (
    "amqtt is the broker of last resort: small frames (64x64) and slow rates (20/s) only, every account reads"
    " everything, nothing kept over its restart, no `plantedge write` and `config set`, no fleet service on this"
    " machine"
)
AMQTT_REMEDY = "install mosquitto 2"


@dataclass(frozen=True)
class BrokerProgram:
    """A broker that runs here. `env` is added to its environment; `found` says where it came from."""

    path: Path
    version: str
    found: str
    env: tuple[tuple[str, str], ...] = ()
    kind: Literal["mosquitto", "amqtt"] = "mosquitto"

    @property
    def mqtt(self) -> MqttVersion:
        """The newest version of MQTT that it speaks."""
        return "5" if self.kind == "mosquitto" else "3.1.1"

    @property
    def warning(self) -> str:
        """What a person has to know before relying on it, "" for nothing."""
        return "" if self.kind == "mosquitto" else f"{AMQTT_WARNING}; {AMQTT_REMEDY}"

    def __str__(self) -> str:
        """Return what a person wants to know of it."""
        return f"{self.kind} {self.version} ({self.found}: {self.path})"


class RungFailed(Exception):
    """A rung of the ladder that did not hold; the message is the reason."""


def run(
    command: list[str],
    *,
    timeout_s: float = _RUN_S,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    accept: range = range(1),
    given: str = "",
) -> str:
    """Run a command and return all that it printed; `given` is its standard input.

    Raises:
        RungFailed: it can't be run, took too long, or ended with a status outside `accept`.
    """
    full = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"} | (env or {})
    try:
        done = subprocess.run(
            command, input=given.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=full, cwd=cwd,
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RungFailed(f"`{' '.join(command)}` took longer than {timeout_s:g} s") from error
    except OSError as error:
        raise RungFailed(f"`{' '.join(command)}`: {error}") from error
    text = done.stdout.decode(errors="replace")
    if done.returncode not in accept:
        raise RungFailed(f"`{' '.join(command)}` ended with {done.returncode}: {' '.join(text.split())[-300:]}")
    return text
