"""What was accepted: versions, digests of settings and tag lists, PLCs, as they can be read and nothing besides."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge.commands.installation import DISTRIBUTION
from edge.commissioning.record import Model, Plc, Subject
from edge.plc.tags.tag import Tag
from edge.settings import Settings


def sha256(data: bytes) -> str:
    """Return a digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def utc_now() -> str:
    """Return the wall clock as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def subject(
    settings: Settings, home: Path, tags: Mapping[str, Mapping[str, Tag]], by: str, models: Iterable[Model],
    notes: Iterable[str] = (),
) -> Subject:  # fmt: skip
    """Return who was accepted."""
    device = settings.device
    return Subject(
        site=device.site, line=device.line, node=device.node, hardware=device.hardware, by=by,
        versions=_versions(), settings_sha256=_settings_digest(settings),
        plcs=[_plc(name, settings, home, tags[name]) for name in settings.sources], models=list(models),
        notes=[*notes, *_busy()],
    )  # fmt: skip


def _busy() -> list[str]:
    """Return that this machine had other work, where it had: the times are not the device's alone then."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return [f"The machine was busy: its load was {load:.1f} on {cores} cores at the end."] if load > cores else []


def _versions() -> dict[str, str]:
    system = platform.uname()
    return {
        DISTRIBUTION: importlib.metadata.version(DISTRIBUTION), "python": platform.python_version(),
        "system": f"{system.system} {system.release} {system.machine}",
    }  # fmt: skip


def _settings_digest(settings: Settings) -> str:
    """Return a digest of the settings as they hold, with overrides and defaults; secrets stand in files beside them."""
    values = settings.model_dump(mode="json")
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def _plc(name: str, settings: Settings, home: Path, tags: Mapping[str, Tag]) -> Plc:
    source = settings.sources[name]
    device, options = source.options.get("device"), source.options.items()
    return Plc(
        source=name, driver=source.driver, address=str(device) if device else f"{source.host}:{source.port}",
        options={key: str(value) for key, value in options if not _secret(key)}, tag_list=source.tags, tags=len(tags),
        tag_list_sha256=sha256((home / source.tags).read_bytes()),
    )  # fmt: skip


def _secret(option: str) -> bool:
    return any(word in option for word in ("password", "secret", "token")) and not option.endswith("_file")
