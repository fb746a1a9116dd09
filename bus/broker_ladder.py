"""Finding a broker: the ladder from a path that somebody named, down to unpacking one without root.

mosquitto is the only rung type: amqtt, the Python broker, speaks MQTT 3.1.1 (0.12 closes an MQTT 5 connection), and our
buses need MQTT 5 for response topics, correlation data and session expiry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import StartError

VARIABLE = "PLANTEDGE_BROKER"
Say = Callable[[str], None]

_RUN_S = 20.0
_FETCH_S = 180.0
_OLDEST = (2, 0)  # 1.x lets everybody in by default and knows no MQTT 5 limits
_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class BrokerProgram:
    """A mosquitto that runs here. `env` is added to its environment; `found` says where it came from."""

    path: Path
    version: str
    found: str
    env: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return what a person wants to know of it."""
        return f"mosquitto {self.version} ({self.found}: {self.path})"


class _Failed(Exception):
    """A rung that did not hold; the message is the reason."""


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
) -> BrokerProgram:
    """Return a mosquitto, installing one if there is none and `allow_install`.

    The rungs: $PLANTEDGE_BROKER; `search` (PATH and the system's folders); `home`/mosquitto, unpacked by an earlier
    call; as root `apt-get install`, without starting Debian's service; else `apt-get download`, unpacked into `home`.
    Each rung reports to `say` in one line.

    Raises:
        StartError: no rung held, with each one's reason; or $PLANTEDGE_BROKER names no usable broker.
    """
    named = os.environ.get(VARIABLE, "")
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
    return _climb(rungs, say)


def _climb(rungs: list[tuple[str, Callable[[], BrokerProgram]]], say: Say) -> BrokerProgram:
    reasons: list[str] = []
    for name, rung in rungs:
        if name.startswith("apt-get"):
            say(f"broker, {name}: fetching mosquitto, this can take a minute")
        try:
            program = rung()
        except _Failed as failure:
            reasons.append(f"{name}: {failure}")
            say(f"broker, {name}: {failure}")
        else:
            say(f"broker: {program}")
            return program
    raise StartError(
        "no MQTT broker:\n  "
        + "\n  ".join(reasons)
        + f"\nInstall mosquitto 2 (apt, dnf, apk, pacman or brew install mosquitto), or name one with {VARIABLE}=PATH"
    )


def _named(named: str, say: Say) -> BrokerProgram:
    path = Path(named)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise StartError(f"{VARIABLE}={named} is not an executable file; name a mosquitto 2, or unset it")
    try:
        program = _tried(path, VARIABLE)
    except _Failed as failure:
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
            except _Failed as failure:
                reasons.append(f"{path}: {failure}")
    raise _Failed("; ".join(reasons) or "no mosquitto on PATH or in the system's folders")


def _unpacked(folder: Path) -> BrokerProgram:
    path = folder / "usr/sbin/mosquitto"
    if not path.is_file():
        raise _Failed(f"none in {folder}")
    return _tried(path, "unpacked", _library_env(folder))


def _tried(path: Path, found: str, env: tuple[tuple[str, str], ...] = ()) -> BrokerProgram:
    """Run it for its version: this also shows that its libraries are there."""
    answer = _run([str(path), "-h"], env=dict(env), accept=range(128))
    match = re.search(r"mosquitto version (\d+)\.(\d+)(\S*)", answer)
    if not match:
        raise _Failed(f"does not say its version: {answer.strip()[:200]}")
    if (int(match[1]), int(match[2])) < _OLDEST:
        raise _Failed(f"mosquitto {match[1]}.{match[2]} is too old, 2.0 is needed")
    return BrokerProgram(path, f"{match[1]}.{match[2]}{match[3]}", found, env)


def _apt_install(folders: Sequence[Path]) -> BrokerProgram:
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=60", "mosquitto"]
    with _no_service_starts():
        try:
            _run(command, timeout_s=_FETCH_S)
        except _Failed:  # no package lists yet, or old ones
            _run(["apt-get", "update", "-q"], timeout_s=_FETCH_S)
            _run(command, timeout_s=_FETCH_S)
    # Debian enables its own broker on port 1883 for the next boot.
    if shutil.which("systemctl"):
        _run(["systemctl", "disable", "mosquitto.service"], accept=range(256))
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
        raise _Failed(f"can't keep Debian's service from starting: {error}") from error
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
            raise _Failed(f"no {tool} here: this is no Debian or Ubuntu")
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
            raise _Failed(f"no package was found for {', '.join(missing)}")
        seen.update(level)
        for package in dict.fromkeys(level):
            apt.unpack(package)


def _missing_libraries(folder: Path) -> list[str]:
    listing = _run(["ldd", str(folder / "usr/sbin/mosquitto")], env=dict(_library_env(folder)))
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
        except _Failed:
            if self._options:
                raise
            self._own_lists()
            self._download(package)
        for deb in self._debs.glob("*.deb"):
            _run(["dpkg", "-x", str(deb), str(self._work)], timeout_s=60)

    def lacking(self, package: str) -> list[str]:
        """Return the packages that `package` depends on and that are not installed here."""
        listing = _run(["apt-cache", *self._options, "depends", "--important", package])
        names = re.findall(r"^\s*\|?(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]*)", listing, re.MULTILINE)
        return [name for name in dict.fromkeys(names) if not self._installed(name)]

    def _installed(self, package: str) -> bool:
        answer = _run(["dpkg-query", "-W", "-f", "${db:Status-Status} ", package], accept=range(256))
        return "installed" in answer.split()

    def _download(self, package: str) -> None:
        _run(["apt-get", *self._options, "-q", "download", package], timeout_s=_FETCH_S, cwd=self._debs)

    def _own_lists(self) -> None:
        state, cache = self._debs / "lists", self._debs / "cache"
        (state / "partial").mkdir(parents=True)
        (cache / "archives/partial").mkdir(parents=True)
        self._options = ["-o", f"Dir::State::lists={state}", "-o", f"Dir::Cache={cache}"]
        _run(["apt-get", *self._options, "-q", "update"], timeout_s=_FETCH_S)


def _run(
    command: list[str],
    *,
    timeout_s: float = _RUN_S,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    accept: range = range(1),
) -> str:
    """Run a command and return all that it printed."""
    full = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"} | (env or {})
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=full, cwd=cwd,
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _Failed(f"`{' '.join(command)}` took longer than {timeout_s:g} s") from error
    except OSError as error:
        raise _Failed(f"`{' '.join(command)}`: {error}") from error
    text = done.stdout.decode(errors="replace")
    if done.returncode not in accept:
        raise _Failed(f"`{' '.join(command)}` ended with {done.returncode}: {' '.join(text.split())[-300:]}")
    return text
