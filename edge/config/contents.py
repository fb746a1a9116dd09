"""What the files behind the settings say: tag lists by their drivers' rules, models by their contracts.

Drivers are imported here, which takes longer than all else: this is for whoever starts, examines or changes a device.
A process checks what concerns it by itself.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pydantic import ValidationError

from edge.config.problems import Problem, dotted, nearest
from edge.config.toml_lines import KeyPath
from edge.config.tree import Tree, is_list, is_tree, subtree, tables
from edge.connectors import Driver, driver_names, load_driver
from edge.engines import Setup, engine_file, engine_names
from edge.inference.steps import op_names, read_options
from edge.models.contract import CONTRACT_FILE, newest_version
from edge.models.slot_store import PINNED_FILE
from edge.plc.alive import alive_problems
from edge.plc.outputs.table import HOOKS, output_problems
from edge.plc.tags.lists import KEYS, Tag, load_tags
from edge.plc.tags.rows import read_rows
from edge.settings import Outputs, Settings, Source
from schemas.errors import ContractError, SettingsError

_OUTPUT_TAGS = tuple(hook.key for hook in HOOKS)


@dataclass(frozen=True)
class TagList:
    """A source's tag list: name -> poll group of each row that can be read; `problems` are placed in its own file."""

    file: str
    groups: Mapping[str, str]
    tags: Mapping[str, Tag]
    problems: tuple[str, ...]


def content_problems(tree: Tree, home: Path) -> tuple[list[Problem], list[str]]:
    """Return what doesn't fit the files behind the settings: at a key of the settings, and in those files."""
    lists = {name: one for name, source in tables(tree, "sources").items() if (one := _tag_list(source, home))}
    found = [
        *_input_tags(tree, lists),
        *_output_tags(tree, lists),
        *_heartbeats(tree, lists),
        *_labels(tree, home),
        *_options(tree),
        *_engines(tree),
    ]
    found += _op_options(tree)
    return found, [problem for known in lists.values() for problem in known.problems]


def missing_models(settings: Settings, home: Path) -> list[str]:
    """Return a line for each pipeline whose model is not there yet; until it is, such a pipeline drops its inputs."""
    folder = home / settings.runtime.folder
    there = sorted({path.parent.parent.name for path in folder.glob(f"*/*/{CONTRACT_FILE}")})
    found: list[str] = []
    for name, pipeline in settings.pipelines.items():
        for model in (model for model in pipeline.models if model not in there):
            near = nearest(model, there)
            remedy = (
                f"did you mean {near}?" if near else f"there are {', '.join(there)}" if there else "there is none yet"
            )
            place = f"{settings.runtime.folder}/{model}/<version>/{CONTRACT_FILE}"
            found.append(
                f"pipeline {name}: there is no model {model!r} ({place}), {remedy}; it gives no results"
                " until then (no_model)"
            )
    return found


# --- tag lists ------------------------------------------------------------------------------------------------------


def _tag_list(source: Tree, home: Path) -> TagList | None:
    """Return a source's tag list, None where there is no such file: `edge.config.checks` tells that."""
    file = source.get("tags")
    if not isinstance(file, str) or not (home / file).is_file():
        return None
    groups, driver = subtree(source, "groups"), _driver(source)
    tags: Mapping[str, Tag] = {}
    problems: list[str] = []
    try:
        tags = load_tags(home / file, groups, driver.check_address if driver else None)
    except SettingsError as error:
        problems = [problem.removeprefix(f"{home}/") for problem in error.problems]
    return TagList(file, _rows(home / file), tags, tuple(problems))


def _rows(path: Path) -> dict[str, str]:
    """Return name -> poll group of all rows, right ones and wrong ones: a name that is there was not misspelt."""
    try:
        rows = read_rows(path, KEYS, [])
    except (OSError, UnicodeDecodeError):
        return {}
    return {str(row.get("name", "")): str(row.get("group", "")) for _, row in rows}


def _driver(source: Tree) -> Driver | None:
    name = source.get("driver")
    return load_driver(name) if isinstance(name, str) and name in driver_names() else None


def _options(tree: Tree) -> Iterator[Problem]:
    """What a driver says of its own options."""
    for name, entry in tables(tree, "sources").items():
        driver = _driver(entry)
        try:
            source = Source.model_validate(entry, strict=True)
        except ValidationError:
            continue
        try:
            if driver:
                driver.open_connector(source).close()
        except SettingsError as error:
            path: KeyPath = ("sources", name, "options")
            yield from (Problem(path, f"{dotted(path)}: {problem}") for problem in error.problems)


def _op_options(tree: Tree) -> Iterator[Problem]:
    """What an op says of its options."""
    for name, pipeline in tables(tree, "pipelines").items():
        steps = pipeline.get("steps")
        for position, step in enumerate(steps if is_list(steps) else []):
            op = step.get("op") if is_tree(step) else None
            if not is_tree(step) or not isinstance(op, str) or op not in op_names():
                continue
            path: KeyPath = ("pipelines", name, "steps", position, "options")
            try:
                read_options(op, subtree(step, "options"))
            except ContractError as error:
                yield from (Problem(path, f"{dotted(path)}: {problem}") for problem in error.problems)


def _engines(tree: Tree) -> Iterator[Problem]:
    """What an engine says of its options, where its package is installed."""
    for name, options in tables(subtree(tree, "runtime"), "options").items():
        if name not in engine_names():
            continue  # `edge.config.checks` tells that
        try:
            Setup(name, options).read(engine_file(name).Options)
        except ContractError as error:
            path: KeyPath = ("runtime", "options", name)
            yield from (Problem(path, problem) for problem in error.problems)


# --- references to tags ---------------------------------------------------------------------------------------------


def _input_tags(tree: Tree, lists: Mapping[str, TagList]) -> Iterator[Problem]:
    """The tags of windows, of what is joined to frames, and of recipes."""
    for name, pipeline in tables(tree, "pipelines").items():
        for key in ("input", "join", "recipe"):
            table = subtree(pipeline, key)
            known, group = lists.get(str(table.get("source"))), table.get("group")
            if known is None:
                continue
            for place, tag in _named_tags(table):
                path: KeyPath = ("pipelines", name, key, *place)
                if tag not in known.groups:
                    yield _no_tag(path, tag, known)
                elif isinstance(group, str) and known.groups[tag] != group:
                    polled = known.groups[tag]
                    text = f"tag {tag!r} is polled in group {polled!r}, not in {group!r}; a window takes one group"
                    yield Problem(path, f"{dotted(path)}: {text}")


def _named_tags(table: Tree) -> Iterator[tuple[KeyPath, str]]:
    """Each tag of a table with its place: `tag`, or in a list `tags` of names and of tables."""
    several = table.get("tags")
    for key in ("tag", "request"):
        single = table.get(key)
        if isinstance(single, str) and single:
            yield (key,), single
    for position, entry in enumerate(several if is_list(several) else []):
        tag = entry.get("tag") if is_tree(entry) else entry
        if isinstance(tag, str):
            yield ("tags", position, "tag") if is_tree(entry) else ("tags", position), tag


def _output_tags(tree: Tree, lists: Mapping[str, TagList]) -> Iterator[Problem]:
    for name, entry in tables(tree, "outputs").items():
        known = lists.get(str(entry.get("source")))
        if known is None:
            continue
        strange = [key for key in _OUTPUT_TAGS if entry.get(key) and str(entry[key]) not in known.groups]
        for key in strange:
            yield _no_tag(("outputs", name, key), str(entry[key]), known)
        if not strange and known.tags:
            yield from _output_kinds(name, entry, known)


def _heartbeats(tree: Tree, lists: Mapping[str, TagList]) -> Iterator[Problem]:
    """A PLC's heartbeat is one of its source's tags, read often enough."""
    for name, known in lists.items():
        path: KeyPath = ("sources", name, "alive")
        entry = tables(tree, "sources")[name]
        alive = entry.get("alive")
        if alive and str(alive) not in known.groups:
            yield _no_tag(path, str(alive), known)
        elif alive and known.tags:
            with contextlib.suppress(ValidationError):
                source = Source.model_validate(entry, strict=True)
                yield from (Problem(path, f"{dotted(path)}: {one}") for one in alive_problems(source, known.tags))


def _output_kinds(name: str, entry: Tree, known: TagList) -> Iterator[Problem]:
    """Types and rights of an output's tags, by the rules of `connect` itself."""
    try:
        outputs = Outputs.model_validate(entry, strict=True)
    except ValidationError:
        return
    for problem in output_problems({name: outputs}, known.tags):
        key = next((key for key in _OUTPUT_TAGS if problem.startswith(f"outputs.{name}: {key} ")), "")
        yield Problem(("outputs", name, key) if key else ("outputs", name), problem)


def _no_tag(path: KeyPath, tag: str, known: TagList) -> Problem:
    near = nearest(tag, known.groups)
    remedy = f"did you mean {near}?" if near else "add it there"
    return Problem(path, f"{dotted(path)}: there is no tag {tag!r} in {known.file}; {remedy}")


# --- models ---------------------------------------------------------------------------------------------------------


def _labels(tree: Tree, home: Path) -> Iterator[Problem]:
    """A label to reject must be one that the model can give, or nothing would ever be rejected."""
    models = home / str(subtree(tree, "runtime").get("folder") or "models")
    for name, pipeline in tables(tree, "pipelines").items():
        reject, model = subtree(pipeline, "decision").get("reject"), _judge(pipeline)
        if not is_list(reject) or not isinstance(model, str) or not (models / model).is_dir():
            continue
        version, labels = _labels_of(models / model, home)
        if labels is None:
            continue
        for position, label in enumerate(reject):
            if isinstance(label, str) and label not in labels:
                path: KeyPath = ("pipelines", name, "decision", "reject", position)
                near = nearest(label, labels)
                remedy = f"did you mean {near}?" if near else f"it has {', '.join(labels) or 'none'}"
                yield Problem(path, f"{dotted(path)}: model {model} {version} has no label {label!r}; {remedy}")


def _judge(pipeline: Tree) -> object:
    """The model whose labels count: the pipeline's, or its last step's."""
    steps = pipeline.get("steps")
    last = steps[-1] if is_list(steps) and steps else pipeline
    return last.get("model") if is_tree(last) else None


def _labels_of(model: Path, home: Path) -> tuple[str, list[str] | None]:
    """Return the version that will run and the labels of its contract, None where that can't be read.

    Only the labels: hashing the model's files takes longer than a start may, and the runtime does it anyway.
    """
    version = ""
    try:
        version = _pinned(model.name, home) or newest_version(model)
        outputs: object = tomllib.loads((model / version / CONTRACT_FILE).read_text(encoding="utf-8")).get("outputs")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ContractError):
        return version, None
    first: object = outputs[0] if is_list(outputs) and outputs else None
    labels = first.get("labels", []) if is_tree(first) else None
    return version, [str(label) for label in labels] if is_list(labels) else None


def _pinned(model: str, home: Path) -> str:
    try:
        return msgspec.json.decode((home / PINNED_FILE).read_bytes(), type=dict[str, str]).get(model, "")
    except (OSError, msgspec.DecodeError):
        return ""
