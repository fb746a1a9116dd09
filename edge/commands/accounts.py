"""`plantedge accounts`: the accounts and rights of a device's own broker, for a device under systemd."""

from __future__ import annotations

from pathlib import Path

from edge.commands.ownership import give_to_owner_of
from edge.line.device_broker import write_accounts
from edge.line.plan import accounts
from edge.settings import load_settings
from schemas.errors import StartError

_GROUP_READS = 0o640  # the broker and the processes run under the folder's group


def write_device_accounts(home: Path) -> int:
    """Write credentials, passwords and ACL where the settings say; accounts that exist keep their password."""
    settings = load_settings(home)
    if not settings.broker.credentials:
        example = 'credentials = "/etc/plantedge/broker/credentials.json"'
        raise StartError(
            f"{home}/device.toml names no credentials in [broker], so `plantedge up` runs a broker for it, with "
            f"accounts of its own; for one that the device has itself write such as {example}"
        )
    credentials = home / settings.broker.credentials
    wanted = accounts(settings)
    changed = write_accounts(credentials, settings.place, wanted)
    written = [credentials.parent / name for name in (credentials.name, "passwords", "acl")]
    for path in written:
        path.chmod(_GROUP_READS)
    give_to_owner_of(credentials.parent, *written)
    names = ", ".join(account.user for account in wanted)
    print(f"{len(wanted)} accounts in {credentials.parent}: {names}")
    print("changed: `systemctl reload plantedge-broker` makes the broker read them" if changed else "nothing changed")
    return 0
