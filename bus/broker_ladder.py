"""Finding a broker: the ladder from a path that somebody named, down to unpacking one without root.

All rungs but the last end at mosquitto. The last one is amqtt (bus/amqtt.py), for those who can do with less.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bus.amqtt import find_amqtt
from bus.broker_program import BrokerProgram, RungFailed, Say, run
from schemas.errors import StartError

__all__ = ["AMQTT", "VARIABLE", "BrokerProgram", "Say", "find_broker", "search_path"]

VARIABLE = "PLANTEDGE_BROKER"
AMQTT = "amqtt"  # $PLANTEDGE_BROKER=amqtt goes to the last rung at once

_FETCH_S = 180.0
_OLDEST = (2, 0)  # 1.x lets everybody in by default and knows no MQTT 5 limits
_POLICY = Path("/usr/sbin/policy-rc.d")


def search_path() -> tuple[Path, ...]:
    """Return PATH and the folders of system programs, which a user's PATH often lacks."""
    known = [Path(part) for part in os.get_exec_path()]
    extra = [Path(name) for name in ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin")]
    return tuple(dict.fromkeys([*known, *extra]))


def _silent(_line: str) -> None:
    """Say nothing."""


def find_broker(
    home: Path,
    allow_install: bool = True,
    *,
    say: Say = _silent,
    search: Sequence[Path] | None = None,
    as_root: bool | None = None,
    amqtt: bool = False,
) -> BrokerProgram:
    """Return a mosquitto, installing one if there is none and `allow_install`.

    The rungs: $PLANTEDGE_BROKER; `search` (PATH and the system's folders); `home`/mosquitto, unpacked by an earlier
    call; as root `apt-get install`, without starting Debian's service; else `apt-get download`, unpacked into `home`;
    at last, if the caller can do with `amqtt` (see its `warning`), that. Each rung reports to `say` in one line.

    Raises:
        StartError: no rung held, with each one's reason; or $PLANTEDGE_BROKER names no usable broker.
    """
    named = os.environ.get(VARIABLE, "")
    last = ("amqtt", lambda: find_amqtt(home, allow_install, say))
    if named == AMQTT and amqtt:
        return _climb([last], say)
    if named:
        return _named(named, say)
    root = os.geteuid() == 0 if as_root is None else as_root
    folders = search_path() if search is None else tuple(search)
    unpacked = home / "mosquitto"
    rungs: list[tuple[str, Callable[[], BrokerProgram]]] = [
        ("installed", lambda: _on_path(folders)),
        ("unpacked in home", lambda: _unpacked(unpacked)),
    ]
    if allow_install and root:
        rungs.append(("apt-get install", lambda: _apt_install(folders)))
    if allow_install:
        rungs.append(("apt-get download", lambda: _apt_download(unpacked)))
    if amqtt:
        rungs.append(last)
    return _climb(rungs, say)


def _climb(rungs: list[tuple[str, Callable[[], BrokerProgram]]], say: Say) -> BrokerProgram:
    reasons: list[str] = []
    for name, rung in rungs:
        if name.startswith("apt-get"):
            say(f"broker, {name}: fetching mosquitto, this can take a minute")
        try:
            program = rung()
        except RungFailed as failure:
            reasons.append(f"{name}: {failure}")
            say(f"broker, {name}: {failure}")
        else:
            say(f"broker: {program}")
            if program.warning:
                say(f"broker: {program.warning}")
            return program
    raise StartError(
        "no MQTT broker:\n  "
        + "\n  ".join(reasons)
        + f"\nInstall mosquitto 2 (apt, dnf, apk, pacman or brew install mosquitto), or name one with {VARIABLE}=PATH"
    )


def _named(named: str, say: Say) -> BrokerProgram:
    if named == AMQTT:
        raise StartError(
            f"{VARIABLE}={named}: a fleet's broker checks certificates and topics, and needs a mosquitto 2"
        )
    path = Path(named)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise StartError(f"{VARIABLE}={named} is not an executable file; name a mosquitto 2, or unset it")
    try:
        program = _tried(path, VARIABLE)
    except RungFailed as failure:
        raise StartError(f"{VARIABLE}={named}: {failure}; name a mosquitto 2, or unset it") from failure
    say(f"broker: {program}")
    return program


def _on_path(folders: Sequence[Path]) -> BrokerProgram:
    reasons: list[str] = []
    for folder in folders:
        path = folder / "mosquitto"
        if path.is_file() and os.access(path, os.X_OK):
            try:
                return _tried(path, "installed")
            except RungFailed as failure:
                reasons.append(f"{path}: {failure}")
    raise RungFailed("; ".join(reasons) or "no mosquitto on PATH or in the system's folders")


def _unpacked(folder: Path) -> BrokerProgram:
    path = folder / "usr/sbin/mosquitto"
    if not path.is_file():
        raise RungFailed(f"none in {folder}")
    return _tried(path, "unpacked", _library_env(folder))


def _tried(path: Path, found: str, env: tuple[tuple[str, str], ...] = ()) -> BrokerProgram:
    """Run it for its version: this also shows that its libraries are there."""
    answer = run([str(path), "-h"], env=dict(env), accept=range(128))
    match = re.search(r"mosquitto version (\d+)\.(\d+)(\S*)", answer)
    if not match:
        raise RungFailed(f"does not say its version: {answer.strip()[:200]}")
    if (int(match[1]), int(match[2])) < _OLDEST:
        raise RungFailed(f"mosquitto {match[1]}.{match[2]} is too old, 2.0 is needed")
    return BrokerProgram(path, f"{match[1]}.{match[2]}{match[3]}", found, env)


def _apt_install(folders: Sequence[Path]) -> BrokerProgram:
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=60", "mosquitto"]
    with _no_service_starts():
        try:
            run(command, timeout_s=_FETCH_S)
        except RungFailed:  # no package lists yet, or old ones
            run(["apt-get", "update", "-q"], timeout_s=_FETCH_S)
            run(command, timeout_s=_FETCH_S)
    # Debian enables its own broker on port 1883 for the next boot.
    if shutil.which("systemctl"):
        run(["systemctl", "disable", "mosquitto.service"], accept=range(256))
    return _on_path(folders)


@contextmanager
def _no_service_starts(policy: Path = _POLICY) -> Generator[None]:
    """Let no package start a service meanwhile: `policy-rc.d` answers 101, and is put back as it was."""
    before = (policy.read_bytes(), policy.stat().st_mode) if policy.exists() else None
    try:
        policy.write_text(
            "#!/bin/sh\n# for the time of one apt-get install: plantedge starts its own broker\nexit 101\n"
        )
        policy.chmod(0o755)
    except OSError as error:
        raise RungFailed(f"can't keep Debian's service from starting: {error}") from error
    try:
        yield
    finally:
        if before is None:
            policy.unlink(missing_ok=True)
        else:
            policy.write_bytes(before[0])
            policy.chmod(before[1])


def _apt_download(target: Path) -> BrokerProgram:
    """Fetch mosquitto and those of its libraries that this machine lacks, and unpack them beside each other."""
    for tool in ("apt-get", "apt-cache", "dpkg", "dpkg-query", "ldd"):
        if shutil.which(tool) is None:
            raise RungFailed(f"no {tool} here: this is no Debian or Ubuntu")
    work = target.with_name("mosquitto.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    apt = _Apt(work)
    apt.unpack("mosquitto")
    _complete(apt, work)
    shutil.rmtree(work / "debs")
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)
    return _unpacked(target)


def _complete(apt: _Apt, work: Path) -> None:
    """Unpack dependencies, level by level, until the loader finds every library."""
    level, seen = ["mosquitto"], {"mosquitto"}
    while missing := _missing_libraries(work):
        level = [name for parent in level for name in apt.lacking(parent) if name not in seen]
        if not level:
            raise RungFailed(f"no package was found for {', '.join(missing)}")
        seen.update(level)
        for package in dict.fromkeys(level):
            apt.unpack(package)


def _missing_libraries(folder: Path) -> list[str]:
    listing = run(["ldd", str(folder / "usr/sbin/mosquitto")], env=dict(_library_env(folder)))
    return re.findall(r"^\s*(\S+) => not found", listing, re.MULTILINE)


def _library_env(folder: Path) -> tuple[tuple[str, str], ...]:
    found = sorted({str(path.parent) for pattern in ("usr/lib", "lib") for path in folder.glob(f"{pattern}/**/*.so.*")})
    before = os.environ.get("LD_LIBRARY_PATH", "")
    return (("LD_LIBRARY_PATH", ":".join([*found, *([before] if before else [])])),) if found else ()


class _Apt:
    """apt without root: the machine's package lists, or lists of our own where it has none or old ones."""

    def __init__(self, work: Path) -> None:
        self._debs = work / "debs"
        self._debs.mkdir()
        self._work = work
        self._options: list[str] = []

    def unpack(self, package: str) -> None:
        """Download one package and unpack it into the work folder."""
        for old in self._debs.glob("*.deb"):
            old.unlink()
        try:
            self._download(package)
        except RungFailed:
            if self._options:
                raise
            self._own_lists()
            self._download(package)
        for deb in self._debs.glob("*.deb"):
            run(["dpkg", "-x", str(deb), str(self._work)], timeout_s=60)

    def lacking(self, package: str) -> list[str]:
        """Return the packages that `package` depends on and that are not installed here."""
        listing = run(["apt-cache", *self._options, "depends", "--important", package])
        names = re.findall(r"^\s*\|?(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]*)", listing, re.MULTILINE)
        return [name for name in dict.fromkeys(names) if not self._installed(name)]

    def _installed(self, package: str) -> bool:
        answer = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ", package], accept=range(256))
        return "installed" in answer.split()

    def _download(self, package: str) -> None:
        run(["apt-get", *self._options, "-q", "download", package], timeout_s=_FETCH_S, cwd=self._debs)

    def _own_lists(self) -> None:
        state, cache = self._debs / "lists", self._debs / "cache"
        (state / "partial").mkdir(parents=True)
        (cache / "archives/partial").mkdir(parents=True)
        self._options = ["-o", f"Dir::State::lists={state}", "-o", f"Dir::Cache={cache}"]
        run(["apt-get", *self._options, "-q", "update"], timeout_s=_FETCH_S)
