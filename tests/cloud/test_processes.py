import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cloud.fleet_file import FILE, read_fleet_file
from cloud.processes import SERVICE
from edge.security.identity import install, make_request
from schemas.topics import TOPICS, Reach, Role


def test_the_service_reads_and_writes_what_the_topic_table_gives_it() -> None:
    fleet = [row for row in TOPICS if row.reach is not Reach.SITE]
    assert set(SERVICE.subscribes) == {row for row in fleet if Role.FLEET in row.readers}
    assert set(SERVICE.publishes) <= {row for row in fleet if Role.FLEET in row.publishers}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "cloud.cli", *map(str, arguments)]


def ask(*arguments: str | Path) -> str:
    answer = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=20, check=True)
    return answer.stdout


@pytest.mark.slow
async def test_the_command_starts_says_so_in_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "fleet"
    fleet = await asyncio.create_subprocess_exec(
        *command("serve", "--home", home, "--http-port", "0", "--mqtt-port", "0"), stdout=subprocess.PIPE
    )
    assert fleet.stdout is not None
    try:
        async with asyncio.timeout(20):
            password = (await fleet.stdout.readline()).decode()
            ready = (await fleet.stdout.readline()).decode()
        assert password.startswith("admin password (shown once): ")
        assert re.fullmatch(
            r"ready http://127\.0\.0\.1:\d+ mqtts://127\.0\.0\.1:\d+ login \S+/login\?once=\S+\n", ready
        )
        file = read_fleet_file(home)
        assert (home / FILE).stat().st_mode & 0o777 == 0o600
        assert file.url in ready
        assert ask("status", "--home", home).startswith("0 devices")
        assert "0 of 0 match" in ask("devices", "--home", home, "state:ok")
        assert ask("link", "--home", home).startswith(f"{file.url}/login?once=")
        children = psutil.Process(fleet.pid).children(recursive=True)
        assert [child.name() for child in children] == ["mosquitto"]
        started = time.monotonic()
        fleet.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await fleet.wait() == 0
        assert time.monotonic() - started < 3
        assert [child for child in children if child.is_running()] == []
        assert not (home / FILE).exists()
    finally:
        if fleet.returncode is None:
            fleet.kill()
            await fleet.wait()


def test_a_device_is_enrolled_without_a_running_service(tmp_path: Path) -> None:
    request = make_request(tmp_path / "identity", "press-7")
    out = tmp_path / "signed"
    ask("enroll", "--home", tmp_path / "fleet", "--csr", request, "--node", "press-7", "--out", out)
    identity = install(tmp_path / "identity", (out / "ca.pem").read_bytes(), (out / "device.pem").read_bytes())
    assert identity.node == "press-7"


def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    answer = subprocess.run(command("status", "--home", tmp_path), capture_output=True, text=True, timeout=20)
    assert answer.returncode == 1
    assert "start it with `plantedge-fleet serve`" in answer.stderr
    assert answer.stderr.count("\n") == 1
