"""The operators' page of a real process, asked as a browser asks it."""

import asyncio
import http.cookiejar
import json
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from edge.commands.operator_page import panel_link
from edge.operator_page.links import revoke_panels
from edge.operator_page.store import FILE
from edge.operator_page.web import HEAD_S
from edge.security.passwords import hash_password
from edge.settings import load_settings
from schemas.messages import Verdict
from schemas.topics import EVENT
from tests.operator_line import Line, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def line(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Line]:
    async with running(tmp_path, free_port()) as found:
        yield found


@pytest.fixture
async def anybody(line: Line) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=line.url, trust_env=False, timeout=20) as http:
        yield http


@pytest.fixture
async def ann(line: Line) -> AsyncIterator[httpx.AsyncClient]:
    """Logged in by a link, with her CSRF token."""
    async with httpx.AsyncClient(base_url=line.url, trust_env=False, timeout=20) as http:
        assert (await http.get(line.link)).status_code == 303
        http.headers["x-csrf-token"] = (await http.get("/api/v1/session")).json()["csrf"]
        yield http


async def test_counts_go_on_after_a_restart_and_say_what_they_missed(line: Line, ann: httpx.AsyncClient) -> None:
    await line.parts(Verdict.OK, Verdict.OK, Verdict.NOK, Verdict.UNKNOWN)
    found = await line.told(ann, lambda station: station["good"] == 2 and station["unknown"] == 1)
    assert (found["reject"], found["missed"], found["line"]["state"]) == (1, 0, "running")
    assert found["line"]["link"] == {"state": "up", "source": "plant", "why": ""}
    await restarted(line)
    await line.told(ann, lambda station: station["good"] == 2)  # the session goes on too
    await line.parts(Verdict.OK)
    found = await line.told(ann, lambda station: station["good"] == 3)
    assert (found["reject"], found["missed"]) == (1, 2)
    assert [part["part"] for part in found["rejects"]] == ["1003"]


async def restarted(line: Line) -> None:
    """The page is stopped, two parts pass unseen, and it is started again."""
    hmi = line.device._processes[-1]
    hmi.terminate()
    await asyncio.to_thread(hmi.wait, 10)
    await line.parts(Verdict.OK, Verdict.OK)
    await line.up()


async def test_a_judgement_is_durable_audited_and_may_be_changed(line: Line, ann: httpx.AsyncClient) -> None:
    (reject,) = await line.parts(Verdict.NOK)
    await line.told(ann, lambda station: station["reject"] == 1)
    told = (await ann.post(f"/api/v1/parts/{reject}/judgement", json={"really": "good"})).json()
    assert (told["part"]["really"], told["part"]["by"], told["changeable"]) == ("good", "ann", True)
    assert line.events is not None
    event = await line.events.until(lambda event: event.code == "judged")
    assert (event.args["by"], event.args["really"], event.args["result_id"]) == ("ann", "good", reject)
    await restarted(line)
    found = await line.told(ann, lambda station: bool(station["rejects"]))
    assert found["rejects"][0]["really"] == "good"
    assert (found["judged"]["precision"]["counted"], found["judged"]["precision"]["of"]) == (0, 1)
    await ann.post(f"/api/v1/parts/{reject}/judgement", json={"really": "bad"})
    event = await line.events.until(lambda event: event.code == "judged" and event.args["before"] == "good")
    assert event.args["really"] == "bad"
    detail = (await ann.get(f"/api/v1/parts/{reject}")).json()
    assert [one["really"] for one in detail["judgements"]] == ["good", "bad"]


async def test_good_parts_are_judged_only_as_they_are_drawn(line: Line, ann: httpx.AsyncClient) -> None:
    ids = await line.parts(*[Verdict.OK] * 45, *[Verdict.NOK] * 10)
    found = await line.told(ann, lambda station: station["reject"] == 10)
    assert (found["judged"]["drawn"], found["judged"]["drawn_waiting"]) == (30, 30)
    draw = "/api/v1/stations/inspect/draw"
    drawn = [(await ann.post(draw, json={"kind": "good"})).json()["part"]["result_id"] for _ in range(2)]
    assert drawn[0] == drawn[1] in ids  # until it is judged, its turn does not pass
    judged_ids = set[str]()
    for _ in range(30):
        name = (await ann.post(draw, json={"kind": "good"})).json()["part"]["result_id"]
        assert (await ann.post(f"/api/v1/parts/{name}/judgement", json={"really": "good"})).status_code == 200
        judged_ids.add(name)
    assert (await ann.post(draw, json={"kind": "good"})).status_code == 404
    for name in ids[45:]:
        assert (await ann.post(f"/api/v1/parts/{name}/judgement", json={"really": "bad"})).status_code == 200
    judged = (await line.told(ann, lambda station: station["judged"]["rejects_judged"] == 10))["judged"]
    assert (judged["precision"]["value"], judged["missed"]["value"], judged["recall"]["value"]) == (1.0, 0.0, 1.0)
    assert judged["recall"]["low"] < 0.9
    for name in set(ids[:45]) - judged_ids:  # not drawn: not kept, or shown and not to be judged
        answer = await ann.post(f"/api/v1/parts/{name}/judgement", json={"really": "bad"})
        assert answer.status_code in (404, 409)


async def test_a_stranger_sees_nothing_and_another_site_changes_nothing(
    line: Line, anybody: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    (reject,) = await line.parts(Verdict.NOK)
    await line.told(ann, lambda station: station["reject"] == 1)
    for path in ("/api/v1/session", "/api/v1/events", f"/api/v1/parts/{reject}", f"/api/v1/pictures/{reject}"):
        assert (await anybody.get(path)).status_code == 401, path
    judgement = f"/api/v1/parts/{reject}/judgement"
    good = {"really": "good"}
    assert (await anybody.post(judgement, json=good)).status_code == 401
    assert (await ann.post(judgement, json=good, headers={"x-csrf-token": "x"})).status_code == 403
    assert (await ann.post(judgement, json=good, headers={"origin": "http://evil.example"})).status_code == 403
    assert (await ann.post(judgement, json=good, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    assert (await ann.post(judgement, content=b'{"really":"good"}')).status_code == 415
    assert (await ann.post(judgement, json={"really": "good", "x": 1})).status_code == 400
    assert (await ann.get("/", headers={"host": "evil.example"})).status_code == 421
    picture = await ann.get(f"/api/v1/pictures/{reject}")
    assert (picture.headers["content-type"], picture.headers["cache-control"]) == ("image/png", "no-store")
    assert "default-src 'none'" in picture.headers["content-security-policy"]
    assert (await ann.get("/static/..%2f..%2fweb.py")).status_code == 404


async def test_a_link_works_once_and_a_panel_may_only_look(line: Line, anybody: httpx.AsyncClient) -> None:
    link, home = line.link, line.device.home
    first = await anybody.get(link)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    anybody.cookies = httpx.Cookies(http.cookiejar.CookieJar())
    assert (await anybody.get(link)).headers["location"] == "/?link=used"
    await anybody.get(panel_link(home, load_settings(home)))
    who = (await anybody.get("/api/v1/session")).json()
    assert (who["name"], who["may_judge"], who["csrf"]) == ("", False, "")
    (reject,) = await line.parts(Verdict.NOK)
    await line.told(anybody, lambda station: station["reject"] == 1)
    heard = await line.users["historian"].hear(EVENT)
    for path in (f"parts/{reject}/judgement", f"parts/{reject}/replay", "stations/inspect/draw", "logout"):
        assert (await anybody.post(f"/api/v1/{path}", json={"really": "good"})).status_code == 403, path
    told = await heard.until(lambda event: event.code == "access_denied")
    assert told.text == f"anonymous was refused /api/v1/parts/{reject}/judgement of the operators' page"
    assert revoke_panels(home) == 1
    assert (await anybody.get("/api/v1/session")).status_code == 401


async def test_passwords_are_those_of_the_users_file_and_are_not_tried_fast(
    line: Line, anybody: httpx.AsyncClient
) -> None:
    async def login(password: str) -> int:
        return (await anybody.post("/api/v1/login", json={"name": "bob", "password": password})).status_code

    heard = await line.users["historian"].hear(EVENT)
    assert await login("wrong") == 401
    told = await heard.until(lambda event: event.code == "access_denied")
    assert told.text == "bob was refused a login on the operators' page"
    assert await login("password of bob") == 200
    assert (await anybody.get("/api/v1/session")).json()["name"] == "bob"
    line.device.write("users.json", json.dumps({"bob": hash_password("another password")}))
    assert (await anybody.get("/api/v1/session")).status_code == 401  # it ended with the old password
    assert [await login("wrong") for _ in range(12)][-1] == 429


async def test_pictures_are_never_written_or_published(line: Line, ann: httpx.AsyncClient) -> None:
    heard = await line.users["historian"].hear(EVENT)
    reject, *_ = await line.parts(Verdict.NOK, *[Verdict.OK] * 20)
    await line.told(ann, lambda station: station["good"] == 20)
    picture = (await ann.get(f"/api/v1/pictures/{reject}")).content
    await ann.post(f"/api/v1/parts/{reject}/judgement", json={"really": "bad"})
    await heard.until(lambda event: event.code == "judged")
    files = [path for path in line.device.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert line.device.home / FILE in files
    pixels = np.full(400, 90, np.uint8).tobytes()
    for path in files:
        data = path.read_bytes()
        assert picture[40:90] not in data and pixels not in data, path
    assert stat.S_IMODE((line.device.home / FILE).stat().st_mode) == 0o600
    with sqlite3.connect(line.device.home / FILE) as db:
        assert db.execute("select count(*) from judgement").fetchone() == (1,)
    db.close()


async def test_who_connects_and_says_nothing_is_cut_off(line: Line, ann: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    began = time.monotonic()
    async with asyncio.timeout(HEAD_S + 20):
        assert await reader.read() == b""
    assert time.monotonic() - began >= HEAD_S - 1
    writer.close()
    await line.told(ann, lambda _: True)  # a page that was open goes on


async def test_a_part_without_evidence_says_why_it_cant_be_replayed(line: Line, ann: httpx.AsyncClient) -> None:
    (reject,) = await line.parts(Verdict.NOK)
    await line.told(ann, lambda station: station["reject"] == 1)
    found = (await ann.post(f"/api/v1/parts/{reject}/replay", json={}, timeout=90)).json()
    assert not found["same"]
    assert "holds nothing yet" in found["problem"]
