"""What only shows when tables are seen together: each name that a table refers to must be there.

The checks read the plain values, so that they speak also when a type is wrong elsewhere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.config.problems import Problem, nearest
from edge.config.toml_lines import KeyPath
from edge.config.tree import Tree, is_list, is_tree, subtree, tables
from edge.inference.steps import op_names


def cross_problems(tree: Tree, home: Path) -> list[Problem]:
    """Return every reference that leads nowhere, and every tag that is written twice."""
    found = [*_pipelines(tree), *_outputs(tree), *_twice_written(tree), *_streams(tree)]
    found += [*_triggers(tree), *_shown(tree)]
    return [*found, *_tag_lists(tree, home), *_drivers(tree), *_engines(tree)]


def _pipelines(tree: Tree) -> Iterator[Problem]:
    streams = {stream for _, stream in _camera_streams(tree)}
    sources = tables(tree, "sources")
    for name, pipeline in tables(tree, "pipelines").items():
        path: KeyPath = ("pipelines", name, "input")
        fed = subtree(pipeline, "input")
        frames, source, group = fed.get("frames"), fed.get("source"), fed.get("group")
        if isinstance(frames, str) and frames not in streams:
            yield _nowhere((*path, "frames"), "camera", frames, streams, ("cameras", frames))
        if isinstance(source, str) and source not in sources:
            yield _nowhere((*path, "source"), "source", source, sources, ("sources", source))
        elif isinstance(source, str) and isinstance(group, str):
            groups = subtree(sources[source], "groups")
            if group not in groups:
                yield _nowhere(
                    (*path, "group"), f"poll group of {source}", group, groups, ("sources", source, "groups")
                )
        for key in ("join", "recipe"):
            beside = subtree(pipeline, key).get("source")
            if isinstance(beside, str) and beside not in sources:
                path = ("pipelines", name, key, "source")
                yield _nowhere(path, "source", beside, sources, ("sources", beside))
        yield from _hysteresis(name, subtree(pipeline, "decision"))
        yield from _ops(name, pipeline)


def _ops(pipeline: str, table: Tree) -> Iterator[Problem]:
    """An op is a file of edge/inference/steps/."""
    steps = table.get("steps")
    for position, step in enumerate(steps if is_list(steps) else []):
        op = step.get("op") if is_tree(step) else None
        if isinstance(op, str) and op and op not in op_names():
            yield _nowhere(("pipelines", pipeline, "steps", position, "op"), "op", op, op_names(), None)


def _hysteresis(pipeline: str, rule: Tree) -> Iterator[Problem]:
    threshold, clear = rule.get("threshold", 0.5), rule.get("clear")
    if _is_number(threshold) and _is_number(clear) and float(str(clear)) > float(str(threshold)):
        path: KeyPath = ("pipelines", pipeline, "decision", "clear")
        yield Problem(
            path, f"{'.'.join(map(str, path))}: {clear} is over the threshold {threshold}; write one under it"
        )


def _outputs(tree: Tree) -> Iterator[Problem]:
    sources, pipelines = tables(tree, "sources"), tables(tree, "pipelines")
    for name, output in tables(tree, "outputs").items():
        if name not in pipelines:
            yield _nowhere(("outputs", name), "pipeline", name, pipelines, ("pipelines", name))
        source = output.get("source")
        if isinstance(source, str) and source not in sources:
            yield _nowhere(("outputs", name, "source"), "source", source, sources, ("sources", source))


def _twice_written(tree: Tree) -> Iterator[Problem]:
    """One tag, one writer: two pipelines on one coil would undo each other's verdicts."""
    owners: dict[tuple[str, str], str] = {}
    for name, output in tables(tree, "outputs").items():
        for key in ("verdict", "part", "armed", "heartbeat"):
            tag, source = output.get(key), output.get("source")
            if not isinstance(tag, str) or not isinstance(source, str) or not tag:
                continue
            owner = owners.setdefault((source, tag), f"outputs.{name}.{key}")
            if owner != f"outputs.{name}.{key}":
                what = f"tag {tag!r} of {source} is already written by {owner}; give each its own tag"
                yield Problem(("outputs", name, key), f"outputs.{name}.{key}: {what}")


def _streams(tree: Tree) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for camera, stream in _camera_streams(tree):
        owner = owners.setdefault(stream, camera)
        if owner != camera:
            text = f"cameras.{camera}: its stream {stream!r} is already that of camera {owner}; set another `stream`"
            yield Problem(("cameras", camera, "stream"), text)


def _shown(tree: Tree) -> Iterator[Problem]:
    """The operators' page shows pipelines that there are."""
    pipelines, named = tables(tree, "pipelines"), subtree(tree, "hmi").get("pipelines")
    for position, name in enumerate(named if is_list(named) else []):
        if isinstance(name, str) and name not in pipelines:
            yield _nowhere(("hmi", "pipelines", position), "pipeline", name, pipelines, ("pipelines", name))


def _triggers(tree: Tree) -> Iterator[Problem]:
    """Trigger and part number of a camera are SOURCE/TAG, and of one source; its recipe's source exists."""
    sources = tables(tree, "sources")
    for name, camera in tables(tree, "cameras").items():
        of: dict[str, str] = {}
        for key in ("trigger", "part"):
            text = camera.get(key)
            if not isinstance(text, str) or not text:
                continue
            source, _, tag = text.partition("/")
            of[key] = source
            path: KeyPath = ("cameras", name, key)
            if not source or not tag:
                yield Problem(path, f"cameras.{name}.{key}: {text!r} will not do; write SOURCE/TAG")
            elif source not in sources:
                yield _nowhere(path, "source", source, sources, ("sources", source))
        beside = subtree(camera, "recipe").get("source")
        if isinstance(beside, str) and beside not in sources:
            yield _nowhere(("cameras", name, "recipe", "source"), "source", beside, sources, ("sources", beside))
        if "part" in of and of.get("trigger") != of["part"]:
            what = "its trigger is of another source" if "trigger" in of else "it has no trigger"
            yield Problem(("cameras", name, "part"), f"cameras.{name}.part: {what}; both come from one source")


def _tag_lists(tree: Tree, home: Path) -> Iterator[Problem]:
    for name, source in tables(tree, "sources").items():
        tags = source.get("tags")
        if isinstance(tags, str) and not (home / tags).is_file():
            there = [str(file.relative_to(home)) for file in sorted((home / "tags").glob("*.*"))]
            near = nearest(tags, there)
            remedy = f"did you mean {near}?" if near else "make this tag list"
            yield Problem(
                ("sources", name, "tags"), f"sources.{name}.tags: there is no file {tags!r} in {home}; {remedy}"
            )


def _drivers(tree: Tree) -> Iterator[Problem]:
    """A driver is a file: the name must be that of one in edge/connectors/ or edge/cameras/."""
    for table, package in (("sources", "edge.connectors"), ("cameras", "edge.cameras")):
        known = _modules(package)
        for name, entry in tables(tree, table).items():
            driver = entry.get("driver")
            if known and isinstance(driver, str) and driver not in known:
                yield _nowhere((table, name, "driver"), "driver", driver, known, None)


def _engines(tree: Tree) -> Iterator[Problem]:
    """An engine is a file too; `auto` is whichever the probe chose."""
    runtime, known = subtree(tree, "runtime"), [*_modules("edge.engines"), "auto"]
    engine = runtime.get("engine")
    if isinstance(engine, str) and engine not in known:
        yield _nowhere(("runtime", "engine"), "engine", engine, known, None)
    for name in subtree(runtime, "options"):
        if name not in known:
            yield _nowhere(("runtime", "options", name), "engine", name, known, None)


def _modules(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or [] for file in Path(folder).glob("*.py")]
    return sorted(file.stem for file in files if not file.stem.startswith("_"))


def _nowhere(path: KeyPath, what: str, name: str, known: Iterable[str], needs: KeyPath | None) -> Problem:
    names = sorted(known)
    near = nearest(name, names)
    remedy = (
        f"did you mean {near}?" if near else (f"there are {', '.join(names)}" if names else f"there is no {what} yet")
    )
    return Problem(path, f"{'.'.join(map(str, path))}: there is no {what} {name!r}; {remedy}", needs)


def _camera_streams(tree: Tree) -> list[tuple[str, str]]:
    return [(name, str(camera.get("stream") or name)) for name, camera in tables(tree, "cameras").items()]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
