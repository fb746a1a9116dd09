"""`plantedge-fleet`: runs the fleet service, enrols devices, shows the fleet in a terminal.

The commands that ask a running service find its address and an API token in its home's `fleet.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
from rich.console import Console
from rich.table import Table

from cloud.accounts import Role
from cloud.device import STALE_AFTER_S, DeviceRow, Snapshot
from cloud.fleet_file import FleetFile, read_fleet_file
from cloud.pki import Authority
from schemas.errors import PlantEdgeError, StartError


def serve(arguments: argparse.Namespace) -> int:
    """Run broker and service until SIGTERM or SIGINT."""
    try:
        from cloud.serve import run  # the web server is in the extra `cloud`, which a device does not have
    except ModuleNotFoundError as error:
        raise StartError(f"{error.name} is not installed: pip install 'plantedge[cloud]'") from error
    return run(arguments)


def enroll(arguments: argparse.Namespace) -> int:
    """Sign a device's request with the CA of this home; the service need not run."""
    authority = Authority.load_or_create(arguments.home / "pki")
    pem = authority.sign_device(arguments.csr.read_bytes(), arguments.node)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "device.pem").write_bytes(pem)
    (arguments.out / "ca.pem").write_bytes(authority.ca.read_bytes())
    print(f"{arguments.node}: {arguments.out / 'device.pem'} and ca.pem, valid for 90 days")
    return 0


def devices(arguments: argparse.Namespace) -> int:
    """Print the devices that a filter matches."""
    query = urllib.parse.urlencode({"q": " ".join(arguments.filter)})
    answer = msgspec.json.decode(_call(arguments.home, f"/api/v1/devices?{query}"), type=_Rows)
    table = Table(box=None)
    for heading in ("device", "site", "line", "state", "reason", "software", "p99 ms", "misses"):
        table.add_column(heading, justify="right" if heading in ("p99 ms", "misses") else "left")
    for row in answer.rows:
        p99 = "" if row.p99_ms is None else f"{row.p99_ms:.1f}"
        table.add_row(row.node, row.site, row.line, row.state, row.reason, row.software, p99, str(row.misses))
    console = Console()
    console.print(table)
    console.print(f"{answer.matched} of {answer.total} match", highlight=False)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Print how the fleet is."""
    snapshot = msgspec.json.decode(_call(arguments.home, "/api/v1/snapshot"), type=Snapshot)
    totals = snapshot.totals
    print(
        f"{totals.devices} devices: {totals.ok} ok, {totals.degraded} degraded, {totals.alarm} alarm, "
        f"{totals.offline} offline; {totals.unacked} alerts not acknowledged; "
        f"{totals.upstream_bytes / 1e6:.1f} MB upstream today"
    )
    if not snapshot.broker:
        print("the fleet's broker is away: devices are not heard")
    return 0 if snapshot.broker else 1


def link(arguments: argparse.Namespace) -> int:
    """Print a login link that works once."""
    answer = json.loads(_call(arguments.home, "/api/v1/links", {"role": arguments.role}))
    print(read_fleet_file(arguments.home).url + answer["path"])
    return 0


class _Rows(msgspec.Struct, frozen=True):
    total: int
    matched: int
    rows: list[DeviceRow]


def _call(home: Path, path: str, body: dict[str, object] | None = None) -> bytes:
    file: FleetFile = read_fleet_file(home)
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {file.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(file.url + path, data, headers)  # noqa: S310 - the address is our own file's
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            return cast(bytes, answer.read())
    except urllib.error.HTTPError as error:
        raise StartError(str(json.loads(error.read()).get("detail", error))) from error
    except OSError as error:
        raise StartError(f"{file.url} does not answer ({error}); is the service still running?") from error


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `plantedge-fleet`; tests hold the documentation's commands to it."""
    parser = argparse.ArgumentParser(prog="plantedge-fleet", description="The fleet service of PlantEdge.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0])
        command.add_argument("--home", type=Path, default=Path(".plantedge/fleet"), help="the fleet's folder")
        command.set_defaults(run=run)
        return command

    serving = add("serve", serve)
    serving.add_argument("--http-host", default="127.0.0.1", help="where the page listens (default: loopback)")
    serving.add_argument("--http-port", type=int, default=8470, help="0: a free one")
    serving.add_argument("--mqtt-host", default="127.0.0.1", help="where devices connect ('' for every interface)")
    serving.add_argument("--mqtt-port", type=int, default=8883, help="0: a free one")
    serving.add_argument("--public-url", default="", help="the page's address behind a proxy, https://...")
    serving.add_argument("--offline-after", type=float, default=STALE_AFTER_S, help="seconds without health")
    enrolling = add("enroll", enroll)
    enrolling.add_argument("--csr", type=Path, required=True, help="the device's certificate request, PEM")
    enrolling.add_argument("--node", required=True, help="the device's name, [a-z0-9-]")
    enrolling.add_argument("--out", type=Path, required=True, help="gets device.pem and ca.pem")
    add("devices", devices).add_argument("filter", nargs="*", help="for example: site:berlin state:alarm p99>5")
    add("status", status)
    add("link", link).add_argument("--role", choices=list(Role), default=Role.ADMIN.value)
    return parser


def main() -> int:
    """Entry point of `plantedge-fleet`."""
    arguments = make_parser().parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        return cast(int, arguments.run(arguments))
    except (PlantEdgeError, OSError) as error:
        print(f"plantedge-fleet: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
