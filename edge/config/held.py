"""Settings as data: what a process holds that neither checks nor changes them.

pydantic takes 14 MB of each process that loads it, and 0.2 s of its start. Whoever checks settings (the supervisor,
the agent, a person's commands, `python -m edge.config.held`) does it with pydantic and leaves what it found in memory
beside the metrics; the others read that, by the same classes without their checks. It is found by a digest of the files
that the settings stand in and of the classes that hold them: what does not match is not read but made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from edge.host.metric_file import metric_folder
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from edge.settings import Settings

HELD: Final = "PLANTEDGE_SETTINGS"  # environment: "held" in a process that does not check settings
_TIMEOUT_S: Final = 30.0
_REFUSED: Final = 78
_FILES: Final = ("device.toml", "overlay.toml", "state/config.json")
_MISSING: Final = object()
F = TypeVar("F", bound=Callable[..., Any])


# --- the classes without their checks ---------------------------------------------------------------------------------


class Plain:
    """What a table of settings is where nothing is checked: its keys as attributes."""

    def __init__(self, **values: object) -> None:
        """Take keys; those that are not given have their defaults."""
        for name, default in _defaults(type(self)):
            value = values.get(name, default)
            if value is _MISSING:
                raise TypeError(f"{type(self).__name__} needs {name}")
            self.__dict__[name] = value

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: settings are frozen."""
        raise AttributeError(f"settings are frozen; {name} can't be set")


def _defaults(kind: type) -> Iterator[tuple[str, object]]:
    for base in reversed(kind.__mro__):
        for name in inspect.get_annotations(base):
            if not name.startswith("_") and name != "model_config":
                yield name, base.__dict__.get(name, _MISSING)


def field(default: object = _MISSING, **_: object) -> object:
    """Stand for pydantic's Field."""
    return default


def validator(**_: object) -> Callable[[F], F]:
    """Stand for pydantic's model_validator: what is held was checked before."""
    return lambda function: function


# --- as bytes ---------------------------------------------------------------------------------------------------------


def pack(settings: object) -> bytes:
    """Return checked settings as bytes."""
    return msgspec.json.encode(_plain(settings))


def _plain(value: Any) -> object:
    kind: Any = cast("object", value).__class__
    if hasattr(kind, "model_fields"):
        return {"table": kind.__name__, "keys": {name: _plain(getattr(value, name)) for name in kind.model_fields}}
    if isinstance(value, dict):
        return {"names": {name: _plain(inner) for name, inner in cast("dict[str, object]", value).items()}}
    return [_plain(inner) for inner in cast("list[object]", value)] if isinstance(value, list) else value


def unpack(data: bytes) -> Settings:
    """Return what `pack` was given, by the classes of this process."""
    importlib.import_module("edge.settings")
    from edge.config.section import Section  # it imports us

    kinds: dict[str, type] = {}
    waiting: list[type] = [Section]
    while waiting:
        kind = waiting.pop()
        kinds[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return cast("Settings", _made(msgspec.json.decode(data), kinds))


def _made(value: Any, kinds: dict[str, type]) -> object:
    if isinstance(value, list):
        return [_made(inner, kinds) for inner in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    named = cast("dict[str, Any]", value)
    if "names" in named:
        return {name: _made(inner, kinds) for name, inner in named["names"].items()}
    return kinds[named["table"]](**{name: _made(inner, kinds) for name, inner in named["keys"].items()})


# --- in memory --------------------------------------------------------------------------------------------------------


def keep(home: Path, settings: Settings) -> None:
    """Leave checked settings for those that don't check; without a place for them they check by themselves."""
    path = _path(home)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.write_bytes(_digest(home) + pack(settings))
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)


def discard(home: Path) -> None:
    """Take back what was left: nothing of the device runs any more."""
    with contextlib.suppress(OSError):
        _path(home).unlink(missing_ok=True)


def held_settings(home: Path) -> Settings:
    """Return a device's settings without checking them here: as they were left, or as another process finds them.

    Raises:
        SettingsError: every problem that the other process found.
    """
    digest = _digest(home)
    try:
        found = _path(home).read_bytes()
        if found.startswith(digest):
            return unpack(found[len(digest) :])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        pass
    return unpack(_checked_elsewhere(home))


def _checked_elsewhere(home: Path) -> bytes:
    words = [sys.executable, "-P", "-m", "edge.config.held", str(home)]
    environment = {name: value for name, value in os.environ.items() if name != HELD}
    try:
        done = subprocess.run(words, capture_output=True, timeout=_TIMEOUT_S, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError([f"{home}: its settings could not be checked ({error}); try again"]) from error
    if done.returncode == _REFUSED:
        raise SettingsError(msgspec.json.decode(done.stdout, type=list[str]))
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-500:]
        raise SettingsError([f"{home}: its settings could not be checked: {said}"])
    return done.stdout


def _path(home: Path) -> Path:
    folder = metric_folder(home)
    return folder.parent / f"{folder.name}.settings"


def _digest(home: Path) -> bytes:
    """Of all that the settings are made from: the device's files, and the code that reads them."""
    found = hashlib.sha256()
    code = Path(__file__).resolve().parent
    boards = (code.parent / "boards", code.parent.parent / "deploy" / "boards")
    ours = [*sorted(code.glob("*.py")), code.parent / "settings.py"]
    ours += [file for folder in boards for file in sorted(folder.glob("*.toml"))]
    theirs = [*(home / name for name in _FILES), *sorted((home / "pipelines").glob("*.toml"))]
    for path in theirs:
        try:
            data = path.read_bytes()
        except OSError:
            data = b"\0"
        found.update(f"{path.name} {len(data)} ".encode() + data)
    for path in ours:
        there = path.stat()
        found.update(f"{path} {there.st_size} {there.st_mtime_ns} ".encode())
    return found.digest()


def main() -> int:
    """Check a device's settings for a process that does not; print them, or their problems."""
    from edge.config.files import read_settings

    home = Path(sys.argv[1])
    try:
        settings = read_settings(home)
    except SettingsError as error:
        sys.stdout.buffer.write(msgspec.json.encode(error.problems))
        return _REFUSED
    keep(home, settings)
    sys.stdout.buffer.write(pack(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
