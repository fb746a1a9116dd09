"""Which PLC and which tags a command is about: a device's source and its tag list, or a URL and addresses."""

from __future__ import annotations

import argparse
import contextlib
import re
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from edge.commands.bus import value_of
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.connectors import Connector, Driver, Located, load_driver, open_surveyed
from edge.plc.tags.forms import form_of
from edge.plc.tags.lists import load_tags
from edge.plc.tags.parsing import parse_row
from edge.plc.tags.tag import KEYS, Access, Tag
from edge.settings import Source, load_settings
from schemas.errors import SettingsError, StartError, TagError
from schemas.messages import Quality, Sample

TIMEOUT_MS: Final = 1000.0
_MORE: Final = tuple(key for key in KEYS if key not in ("name", "address", "type", "group", "failsafe"))
_UNREAD: Final = Sample(quality=Quality.BAD, reason="the driver gave no value")
_WILD: Final = re.compile(r"[*?]")


@dataclass(frozen=True)
class Target:
    """A PLC. `name`: the source's, or the URL. `home`: the device whose source it is, None for a URL."""

    name: str
    source: Source
    driver: Driver
    tags: Mapping[str, Tag]
    home: Path | None = None

    @property
    def where(self) -> str:
        """Driver and place, as a person says them."""
        return f"{self.source.driver} {place(self.source, self.driver)}"


@dataclass(frozen=True)
class Scan:
    """One read of all tags. `times_ns`: when each tag's answer came, by the wall clock: the protocols bring no time."""

    samples: dict[str, Sample]
    times_ns: dict[str, int]
    time_ns: int
    took_ms: float

    @property
    def good(self) -> bool:
        """Whether all are."""
        return all(sample.quality is Quality.GOOD for sample in self.samples.values())


def place(source: Source, driver: Driver) -> str:
    """Return host and port, or what stands for them in the driver's URLs."""
    if isinstance(driver, Located) and not driver.PORT:
        return str(source.options.get(driver.URL_PATH, "")) or "no device"
    return f"{source.host}:{source.port}"


def target_of(given: argparse.Namespace) -> Target:
    """Return the PLC that a command line names.

    Raises:
        SettingsError, StartError: there is no such source, driver or option; with what there is.
    """
    if "://" in given.target:
        return _ad_hoc(given)
    home = device_home(given.home)
    settings = load_settings(home)
    held = settings.sources.get(given.target)
    if held is None:
        near = nearest(given.target, settings.sources)
        there = f"did you mean {near}" if near else f"there are {', '.join(settings.sources) or 'none'}"
        raise StartError(f"{home} has no source {given.target!r}; {there}. A PLC without settings is DRIVER://HOST")
    if given.tag_list:
        raise StartError(f"--list is for a URL; {given.target} has its own list, {held.tags}")
    driver = load_driver(held.driver)
    tags = load_tags(home / held.tags, held.groups, driver.check_address)
    return Target(given.target, _changed(_at_home(held, home), given), driver, tags, home)


def _ad_hoc(given: argparse.Namespace) -> Target:
    name, _, rest = given.target.partition("://")
    driver = load_driver(name)
    try:
        url = urlsplit(f"//{rest}")
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise StartError(f"{given.target}: {error}; write {name}://HOST:PORT") from error
    located = driver if isinstance(driver, Located) else None
    port = port or (located.PORT if located else None)
    if port is None or (not host and port):
        raise StartError(f"{given.target}: {'port' if host else 'host'} is missing; write {name}://HOST:PORT")
    options: dict[str, object] = {key: value_of(value) for key, value in parse_qsl(url.query)}
    if url.path and located and located.URL_PATH:
        options[located.URL_PATH] = url.path
    fields: dict[str, object] = {
        "driver": name,
        "host": host or "127.0.0.1",
        "timeout_ms": TIMEOUT_MS,
        "tags": "-",
        "groups": {},
    }
    source = _validated(fields | ({"port": port} if port else {}) | {"options": options})
    tags = load_tags(given.tag_list, (), driver.check_address) if given.tag_list else {}
    return Target(given.target, _changed(source, given), driver, tags)


def _changed(source: Source, given: argparse.Namespace) -> Source:
    """Return a source with the options of the command line."""
    options: dict[str, object] = dict(source.options)
    for text in given.option:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise StartError(f"--option {text!r}: write KEY=VALUE, such as slot=2")
        options[key] = value_of(value)
    changed = {"timeout_ms": given.timeout_ms} if given.timeout_ms else {}
    return _validated(source.model_dump() | {"options": options} | changed)


def _validated(fields: Mapping[str, object]) -> Source:
    try:
        return Source.model_validate(fields)
    except ValidationError as error:
        raise SettingsError(
            [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        ) from error


def _at_home(source: Source, home: Path) -> Source:
    """Return a source whose files (options that end in `_file`) are found from anywhere."""
    files = {name: str(home / str(path)) for name, path in source.options.items() if name.endswith("_file") and path}
    return source.model_copy(update={"options": source.options | files})


# -- tags -------------------------------------------------------------------------------------------------------------


def tags_of(target: Target, words: Sequence[str], access: Access | None = None) -> list[Tag]:
    """Return the tags that words name: by name, by a pattern of names, or by ADDRESS:TYPE; all without words.

    Raises:
        StartError, TagError: a word names none; with what to write.
    """
    if not words:
        if not target.tags:
            raise StartError(f"which tags of {target.name}? Write ADDRESS:TYPE, such as hr:0:uint16, or --list FILE")
        return list(target.tags.values())
    found: dict[str, Tag] = {}
    for word in words:
        found |= {tag.name: tag for tag in _named(target, word, access)}
    return list(found.values())


def _named(target: Target, word: str, access: Access | None) -> list[Tag]:
    if word in target.tags:
        return [target.tags[word]]
    if _WILD.search(word):
        if named := [tag for name, tag in target.tags.items() if matches(name, word)]:
            return named
        raise StartError(f"no tag of {target.name} is like {word!r}")
    tag = addressed(word, access)
    if tag is None:
        near = nearest(word, target.tags)
        there = f"did you mean {near}? " if near else ""
        raise StartError(
            f"{target.name} has no tag {word!r}; {there}An address of the PLC's own has its type behind it: "
            f"{word.partition(':')[0] or 'hr:0'}:float32"
        )
    target.driver.check_address(tag)
    return [tag]


def matches(name: str, pattern: str) -> bool:
    """Whether a name is like a pattern, whatever the case; `*` and `?` alone have a meaning: names have brackets."""
    parts = re.split(r"([*?])", pattern)
    wild = {"*": ".*", "?": "."}
    return bool(
        re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), name, re.IGNORECASE | re.DOTALL)
    )


def addressed(word: str, access: Access | None = None) -> Tag | None:
    """Return a tag written as ADDRESS:TYPE[,KEY=VALUE...], whose name is the word; None where it is none.

    Raises:
        TagError: a key or value that is none of a tag's.
    """
    pieces = word.split(":")
    for cut in (len(pieces) - 1, len(pieces) - 2):
        if cut < 1:
            continue
        address, (kind, *more) = ":".join(pieces[:cut]), ":".join(pieces[cut:]).split(",")
        with contextlib.suppress(TagError):
            form_of(kind)
            return _tag(word, address, kind, more, access)
    return None


def _tag(word: str, address: str, kind: str, more: Sequence[str], access: Access | None) -> Tag:
    row: dict[str, object] = {"name": "x", "address": address, "type": kind, "access": access or Access.READ}
    problems: list[str] = []
    for part in more:
        key, _, value = part.partition("=")
        if key not in _MORE:
            problems.append(f"{key!r} is no key of a tag; known are {', '.join(_MORE)}")
        row[key] = value
    tag = parse_row(row, 1, (), problems) if not problems else None
    if tag is None:
        raise StartError(f"{word}: {'; '.join(problems)}")
    return replace(tag, name=word.partition(",")[0])


# -- reading ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(target: Target, tags: Sequence[Tag]) -> Generator[Connector, None, None]:
    """Open the link, and close it whatever happens.

    Raises:
        ConnectorError: it can't be opened; with where, and what to look at.
    """
    connector = open_surveyed(target.driver, target.source, tags)
    try:
        connector.connect()
        yield connector
    finally:
        connector.close()


def scan(connector: Connector, tags: Sequence[Tag]) -> Scan:
    """Read all tags once; raises ConnectorError where the link fails."""
    began_ns, began = time.time_ns(), time.monotonic()
    samples: dict[str, Sample] = {}
    times: dict[str, int] = {}
    for part in connector.read(tags):
        now_ns = time.time_ns()
        samples |= part
        times |= dict.fromkeys(part, now_ns)
    took_ms = (time.monotonic() - began) * 1e3
    return Scan(
        {tag.name: samples.get(tag.name, _UNREAD) for tag in tags},
        {tag.name: times.get(tag.name, began_ns) for tag in tags}, began_ns, took_ms,
    )  # fmt: skip
