"""The device's own broker under `plantedge up`: its files, and the command that runs it.

A device whose `device.toml` names `broker.credentials` has a broker of its own already, and none is started.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from bus import Address
from bus.amqtt import amqtt_config, amqtt_passwords
from bus.broker import Account, device_acl, new_password, password_file
from bus.broker_config import development, device_config
from bus.broker_program import BrokerProgram
from bus.mosquitto import probe
from edge.config.tree import is_tree
from edge.host.durable import write_durably
from edge.line.plan import BROKER, BROKER_FIFO
from edge.supervision.child import Command
from schemas.errors import StartError
from schemas.topics import Place

FOLDER = Path("run") / "broker"  # in the device folder
CREDENTIALS = FOLDER / "credentials.json"
_SILENCE_S = 12.0
_START_S = {"mosquitto": 10.0, "amqtt": 30.0}  # the latter is Python: beside other work it took 7 s


def broker_settings(home: Path, port: int, program: BrokerProgram | None = None) -> dict[str, object]:
    """Return the `[broker]` table of the overlay; without a program that of mosquitto."""
    found: dict[str, object] = {"port": port, "credentials": str(CREDENTIALS)}
    if program and program.kind == "amqtt":
        return found | {"socket": "", "mqtt": program.mqtt}
    socket = development(home / FOLDER, port).socket
    return found | ({"socket": str(FOLDER / socket.name)} if socket else {})


def write_accounts(credentials: Path, place: Place, accounts: list[Account]) -> bool:
    """Write passwords and ACL beside the credentials; known accounts keep theirs. Return whether something changed."""
    folder = credentials.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = _known(credentials)
    held = {account.user: known.get(account.user) or new_password() for account in accounts}
    acl = device_acl(place, accounts)
    there = (folder / "acl").exists() and (folder / "passwords").exists()
    if held == known and there and (folder / "acl").read_text() == acl:
        return False
    write_durably(credentials, json.dumps(held, indent=1).encode())
    for name, text in (("passwords", password_file(held)), ("acl", acl)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    credentials.chmod(0o600)
    return True


def broker_command(program: BrokerProgram, home: Path, port: int, cpus: tuple[int, ...] = ()) -> Command:
    """Write the broker's configuration and return the command that runs it.

    Raises:
        StartError: the environment of amqtt is broken.
    """
    folder = home / FOLDER
    (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
    config = folder / f"{program.kind}.conf"
    config.write_text(
        _amqtt(program, home, port) if program.kind == "amqtt" else device_config(development(folder, port))
    )

    async def answers() -> bool:
        try:
            await asyncio.to_thread(probe, Address(port=port, mqtt=program.mqtt))
        except StartError:
            return False
        return True

    return Command(
        name=BROKER, argv=(str(program.path), "-c", str(config)), env=dict(program.env), probe=answers,
        start_s=_START_S[program.kind], watchdog_s=_SILENCE_S, fifo=BROKER_FIFO, cpus=cpus,
    )  # fmt: skip


def _amqtt(program: BrokerProgram, home: Path, port: int) -> str:
    """Write passwords as amqtt takes them, and return its configuration."""
    passwords = home / FOLDER / "passwords.amqtt"
    passwords.touch(mode=0o600)
    passwords.write_text(amqtt_passwords(program, _known(home / CREDENTIALS)))
    return amqtt_config(port, passwords, (home / FOLDER / "acl").read_text())


def _known(path: Path) -> dict[str, str]:
    try:
        held: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(user): str(password) for user, password in held.items()} if is_tree(held) else {}
