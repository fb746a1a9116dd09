"""`plantedge opcua user NAME`: who may open a session on the OPC UA server. A password is never an argument."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path

from edge.commands.device import device_home
from edge.commands.ownership import give_to_owner_of
from edge.config.tree import is_tree
from edge.host.durable import write_durably
from edge.security.passwords import hash_password
from edge.settings import load_settings
from schemas.errors import StartError

LEAST_CHARACTERS = 8


def set_user(home: Path, name: str, *, remove: bool = False) -> int:
    """Add a user, give one a new password, or remove one; a running server takes it up within seconds.

    Raises:
        StartError: the settings name no users' file, it can't be read, or the password will not do.
    """
    settings = load_settings(home)
    if not settings.opcua.users:
        raise StartError(f"{home}/device.toml names no users' file; {_remedy(home)}")
    path = home / settings.opcua.users
    known = _known(path)
    if remove and name not in known:
        raise StartError(f"{path} has no user {name}; there are {', '.join(known) or 'none'}")
    if remove:
        known = {user: stored for user, stored in known.items() if user != name}
        done = "removed"
    else:
        done = "has a new password" if name in known else "added"
        known = known | {name: hash_password(_ask(name))}
    write_durably(path, json.dumps(known, indent=1).encode() + b"\n")
    path.chmod(0o600)
    give_to_owner_of(home, path)
    print(f"{path}: {name} {done}; a running OPC UA server takes it up within seconds")
    return 0


def _remedy(home: Path) -> str:
    if home == device_home(None):
        return "the demo has none, and is made anew at each start: copy edge/sim/demo, and name the copy with --home"
    return 'write users = "users.json" in its [opcua] table'


def _ask(name: str) -> str:
    """Return a password from the terminal, typed twice, or the first line of a pipe."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("again: ") != password:
            raise StartError("the two are not the same; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if len(password) < LEAST_CHARACTERS:
        raise StartError(f"a password has at least {LEAST_CHARACTERS} characters; nothing was changed")
    return password


def _known(path: Path) -> dict[str, str]:
    try:
        held: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StartError(f"{path} can't be read ({error}); mend it, or remove it to begin anew") from error
    if not is_tree(held):
        raise StartError(f"{path} is not JSON of name -> hash; mend it, or remove it to begin anew")
    return {str(user): str(stored) for user, stored in held.items()}
