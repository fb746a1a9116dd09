"""amqtt, the broker of last resort: pure Python, so it can be had wherever we run. Never imported, only started.

It speaks MQTT 3.1.1 (`bus.Address.mqtt`) on loopback TCP alone. Measured beside our buses: 12 kB at 100/s or 200 B at
1,000/s with a p99 of 3-4 ms; mosquitto takes fifty times that. Accounts have passwords, and may write what the table of
topics says; each of them may read everything: it would refuse `mes/#` whole where mosquitto delivers the allowed part,
and sends retained messages to whoever connects anyway. What is retained or queued ends with it. SIGHUP ends it: it has
to be started again to learn of new accounts.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from bus.broker_program import BrokerProgram, RungFailed, Say, run
from schemas.errors import StartError

_OLDEST = (0, 11)  # before it, plugins were configured in another way
_FETCH_S = 300.0
_ENV = (("PYTHONUTF8", "1"), ("PYTHONWARNINGS", "ignore"))
_PLUGINS = "amqtt.plugins"
# Passwords are generated (192 bits, bus.broker.new_password): slow hashing protects nothing, and stalls every login.
_HASH = """
import json, sys
from argon2 import PasswordHasher
hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
print(json.dumps({user: hasher.hash(password) for user, password in json.load(sys.stdin).items()}))
"""


def find_amqtt(home: Path, allow_install: bool, say: Say) -> BrokerProgram:
    """Return an amqtt: in our own environment, in `home`/amqtt, or installed there from the locked requirements.

    Raises:
        RungFailed: there is none, and none could be had.
    """
    reasons: list[str] = []
    for folder, found in ((Path(sys.prefix), "in our environment"), (home / "amqtt", "in an environment of its own")):
        try:
            return _tried(folder, found)
        except RungFailed as failure:
            reasons.append(str(failure))
    if not allow_install:
        raise RungFailed("; ".join(reasons))
    say("broker, amqtt: installing it into an environment of its own, this can take a minute")
    _install(home / "amqtt")
    return _tried(home / "amqtt", "in an environment of its own")


def _tried(environment: Path, found: str) -> BrokerProgram:
    """Run it for its version: this imports all that it needs."""
    path = environment / "bin" / "amqtt"
    if not path.is_file():
        raise RungFailed(f"none in {environment}")
    answer = run([str(path), "--version"], env=dict(_ENV))
    match = re.search(r"(\d+)\.(\d+)(\S*)", answer)
    if not match or (int(match[1]), int(match[2])) < _OLDEST:
        raise RungFailed(f"{path} says {answer.strip()[:80]!r}, 0.11 or newer is needed")
    return BrokerProgram(path, match[0], found, _ENV, "amqtt")


def _install(folder: Path) -> None:
    lock = _lock_file()
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    locked = ["--require-hashes", "-r", str(lock)]
    try:
        if uv := _uv(folder.parent):
            run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], timeout_s=_FETCH_S)
            run([uv, "pip", "install", "--quiet", "--python", str(python), *locked], timeout_s=_FETCH_S)
        else:
            run([sys.executable, "-m", "venv", str(folder)], timeout_s=_FETCH_S)
            run([str(python), "-m", "pip", "install", "--quiet", *locked], timeout_s=_FETCH_S)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # half an environment must not be taken for one
        raise


def _lock_file() -> Path:
    """Return the lock: in the wheel it lies beside this file."""
    here = Path(__file__).resolve().parent
    for path in (here / "amqtt.txt", here.parent / "requirements" / "amqtt.txt"):
        if path.is_file():
            return path
    raise RungFailed("requirements/amqtt.txt is missing from this installation")


def _uv(work: Path) -> str:
    """Return uv: on PATH, or where `./run` keeps it."""
    near = [folder / "uv" / "bin" / "uv" for folder in (work, Path(sys.prefix).parent)]
    return shutil.which("uv") or next((str(path) for path in near if path.is_file()), "")


def amqtt_config(port: int, passwords: Path, acl: str) -> str:
    """Return its configuration, as JSON, which is YAML. `acl`: the text of `bus.broker.device_acl`.

    There is no listener but loopback. What an account may write is a list of filters.
    """
    writes: dict[str, list[str]] = {}
    user = ""
    for line in acl.splitlines():
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest
            writes[user] = []
        elif line.startswith("topic write "):
            writes[user].append(line.removeprefix("topic write "))
    plugins: dict[str, object] = {
        f"{_PLUGINS}.authentication.FileAuthPlugin": {"password_file": str(passwords)},
        f"{_PLUGINS}.topic_checking.TopicAccessControlListPlugin": {
            "publish_acl": writes, "acl": {user: ["#"] for user in writes},
        },
    }  # fmt: skip
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    return json.dumps({"listeners": {"default": listener}, "plugins": plugins}, indent=1) + "\n"


def amqtt_passwords(program: BrokerProgram, passwords: dict[str, str]) -> str:
    """Return its password file for user -> password. It takes Argon2 only, which lies in its own environment.

    Raises:
        StartError: that environment is broken.
    """
    try:
        python = str(program.path.with_name("python"))
        answer = run([python, "-c", _HASH], env=dict(_ENV), given=json.dumps(passwords))
        hashes: dict[str, str] = json.loads(answer)
    except (RungFailed, ValueError) as error:
        raise StartError(f"the passwords of {program} could not be hashed: {error}; remove its folder") from error
    return "".join(f"{user}:{hashed}\n" for user, hashed in hashes.items())
