"""Reads a device folder's settings and reports every problem of every file at once, with its line.

Layers, each over the one before: the profile of the hardware (`edge.config.boards`), `device.toml`, `pipelines/*.toml`,
`overlay.toml` (what `plantedge up` chose for this machine), and the agent's overrides in `state/config.json`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from pydantic import ValidationError

from edge.config.boards import board_settings
from edge.config.checks import cross_problems
from edge.config.problems import Problem, explain
from edge.config.toml_lines import KeyPath, error_line, key_lines
from edge.config.tree import Tree, is_list, is_tree, merged
from edge.settings import Settings
from schemas.errors import SettingsError

DEVICE_FILE = "device.toml"
PIPELINES = "pipelines"
OVERLAY_FILE = "overlay.toml"
OVERRIDES_FILE = "state/config.json"
NOWHERE: KeyPath = ("",)  # the root of a file that only adds: when it can't be read, nothing else is explained by that


@dataclass(frozen=True)
class Layer:
    """One file: its values under their place in the whole, the line of each key, and why it can't be read."""

    file: str
    values: Tree = field(default_factory=dict[str, object])
    lines: Mapping[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    root: KeyPath = ()
    broken: str = ""

    def line(self, path: KeyPath) -> int | None:
        """Return the line that `path` stands on, None if this file does not have it."""
        if not _starts(path, self.root):
            return None
        inside = path[len(self.root) :]
        return self.lines.get(inside, None if inside else 1)


def read_settings(home: Path, overrides: Mapping[str, Tree] | None = None, *, with_contents: bool = False) -> Settings:
    """Read and check a device folder; `overrides` (section -> values) stand in for those that the agent holds.

    `with_contents` also checks tag lists and models (`edge.config.contents`), which takes longer.

    Raises:
        SettingsError: every problem, as `file:line: what, what to do`.
    """
    layers = _layers(home, overrides)
    tree: Tree = {}
    for layer in layers:
        tree = merged(tree, layer.values)
    tree = merged(board_settings(tree), tree)
    problems: list[Problem] = []
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(tree, strict=True)
    except ValidationError as error:
        problems += explain(error, tree)
    problems += cross_problems(tree, home)
    said = [layer.broken for layer in layers if layer.broken]
    if with_contents:
        from edge.config.contents import content_problems  # it imports drivers; a process needs its own at most

        inside, of_contents = content_problems(tree, home)
        problems += inside
        said += of_contents
    said += [_placed(problem, layers) for problem in problems if not _explained(problem, layers)]
    if said or settings is None:
        raise SettingsError(list(dict.fromkeys(said)))
    return settings


def _layers(home: Path, overrides: Mapping[str, Tree] | None) -> list[Layer]:
    layers = [_toml(home, home / DEVICE_FILE, ())]
    layers += [_toml(home, file, (PIPELINES, file.stem)) for file in sorted((home / PIPELINES).glob("*.toml"))]
    if (home / OVERLAY_FILE).exists():
        overlay = _toml(home, home / OVERLAY_FILE, ())
        layers.append(replace(overlay, root=NOWHERE) if overlay.broken else overlay)
    if overrides is not None:
        layers.append(Layer("", values=dict(overrides)))  # they are in no file yet
    elif (home / OVERRIDES_FILE).exists():
        layers.append(_held_overrides(home))
    return layers


def _toml(home: Path, path: Path, root: KeyPath) -> Layer:
    name = str(path.relative_to(home))
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        values: Tree = tomllib.loads(text)
    except FileNotFoundError:
        what = f"{name}:1: not found in {home}; a device folder begins with it, edge/sim/demo is an example"
        return Layer(name, root=root, broken=what)
    except (OSError, UnicodeDecodeError) as error:
        return Layer(
            name, root=root, broken=f"{name}:1: can't be read ({error}); it must be UTF-8 text that we may read"
        )
    except tomllib.TOMLDecodeError as error:
        return Layer(name, root=root, broken=f"{name}:{error_line(error, text)}: not TOML: {error}; mend this line")
    lines = key_lines(text)
    for part in reversed(root):
        values = {str(part): values}
    return Layer(name, values, lines, root)


def _held_overrides(home: Path) -> Layer:
    path = home / OVERRIDES_FILE
    try:
        held = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, object]])
    except (OSError, msgspec.DecodeError) as error:
        remedy = "restore it, or remove it to go back to the files"
        return Layer(OVERRIDES_FILE, root=NOWHERE, broken=f"{OVERRIDES_FILE}:1: can't be read ({error}); {remedy}")
    sections = {section: entry["values"] for section, entry in held.items() if is_tree(entry.get("values"))}
    return Layer(OVERRIDES_FILE, values=sections)


def _placed(problem: Problem, layers: list[Layer]) -> str:
    """Say a problem at the line of its key, or else of the table that it belongs to, in the uppermost file with it."""
    path = problem.path
    while True:
        for layer in reversed(layers):
            line = layer.line(path)
            if line is None and path and _holds(layer.values, path):
                line = 1  # a file without lines: JSON, or values that are not in a file yet
            if line is not None and not layer.broken:
                return f"{layer.file}:{line}: {problem.text}" if layer.file else problem.text
        if not path:
            return f"{layers[0].file}:1: {problem.text}"
        path = path[:-1]


def _holds(values: object, path: KeyPath) -> bool:
    for key in path:
        if is_list(values) and isinstance(key, int) and key < len(values):
            values = values[key]
        elif is_tree(values) and key in values:
            values = values[str(key)]
        else:
            return False
    return True


def _explained(problem: Problem, layers: list[Layer]) -> bool:
    """Return whether a file that can't be read explains a problem: what is missing may stand in it."""
    roots = [layer.root for layer in layers if not layer.broken and layer.root]
    for layer in layers:
        if not layer.broken:
            continue
        if problem.needs is not None:
            if _starts(problem.needs, layer.root):
                return True
        elif _starts(problem.path, layer.root) and not any(_starts(problem.path, root) for root in roots):
            return True
    return False


def _starts(path: KeyPath, root: KeyPath) -> bool:
    return path[: len(root)] == root
