"""The operators' page of a real process, in a real browser; the test plays camera, runtime and PLC on a real broker."""

import asyncio
import http.cookiejar
import itertools
import json
import os
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from cloud.ui_build import PRIVATE, BuildError, build
from edge.commands.operator_page import login_link, panel_link
from edge.host.clock import boot_id
from edge.operator_page.links import revoke_panels
from edge.operator_page.store import FILE
from edge.operator_page.web import HEAD_S
from edge.security.passwords import hash_password
from edge.settings import load_settings
from schemas.messages import Frame, Output, State, Status, Verdict
from schemas.topics import EVENT, FRAME, OUTPUT, RESULT, STATUS
from tests.conftest import absent, find_program
from tests.device import Device, Heard, User
from tests.edge.operator_page.messages import result

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
USERS = ("hmi", "runtime-safety", "camera-cam1", "connect-plant", "historian")
SETTINGS = """
[sources.plant]
driver = "modbus"
tags = "tags/plant.csv"
groups = {{ slow = 100 }}
[outputs.inspect]
source = "plant"
verdict = "Reject"
[cameras.cam1]
driver = "folder"
address = "pictures"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = {{ frames = "cam1" }}
deadline_ms = 50
decision = {{ reject = ["scratch"] }}
[hmi]
port = {port}
users = "users.json"
ideal_per_min = 120
stopped_after_s = 20
"""
SCRIPT = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@dataclass
class Line:
    """A device whose page runs; the test plays the processes that feed it."""

    device: Device
    port: int
    users: dict[str, User] = field(default_factory=dict[str, User])
    events: Heard | None = None
    seq: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        return login_link(self.device.home, load_settings(self.device.home), "ann")

    async def up(self) -> None:
        """Start the page and wait until it answers."""
        self.device.start("hmi")
        end = time.monotonic() + 30
        async with httpx.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    if (await http.get(self.url + "/api/v1/session")).status_code == 401:
                        return
                except httpx.TransportError:
                    pass
                assert time.monotonic() < end, self.device.log("hmi")
                await asyncio.sleep(0.05)

    def part(self, verdict: Verdict = Verdict.OK, **other: Any) -> str:
        """One part passes: its frame, its result, its output. Returns the result's id."""
        seq = next(self.seq)
        made = result(seq, verdict, **other)
        shade = 200 if verdict is Verdict.OK else 90
        pixels = np.full((64, 64, 3), shade, np.uint8)
        pixels[20:44, 20:44] = (180, 40, 40) if verdict is Verdict.NOK else (60, 140, 200)
        frame = Frame(
            stream="cam1", part_id=made.part_id or 0, boot=boot_id(), trigger_ns=time.monotonic_ns(),
            time_ns=time.time_ns(), shape=pixels.shape, dtype="uint8", data=memoryview(pixels.tobytes()), epoch=1,
            seq=seq,
        )  # fmt: skip
        output = Output(
            pipeline="inspect", result_id=made.result_id, part_id=made.part_id, verdict=verdict, failsafe=False,
            actuate_ms=2, total_ms=8, late=False, time_ns=time.time_ns(), epoch=1, seq=seq,
        )  # fmt: skip
        self.users["camera-cam1"].say(FRAME, frame, stream="cam1")
        self.users["runtime-safety"].say(RESULT, made, pipeline="inspect")
        self.users["connect-plant"].say(OUTPUT, output, pipeline="inspect")
        return made.result_id

    async def parts(self, *verdicts: Verdict) -> list[str]:
        """Parts pass, slowly enough for a frame to be there before its result."""
        found = []
        for verdict in verdicts:
            found.append(self.part(verdict))
            await asyncio.sleep(0.02)
        return found

    async def told(self, http: httpx.AsyncClient, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read the event stream until a snapshot is the wanted one."""
        station: dict[str, Any] = {}
        async with asyncio.timeout(20), http.stream("GET", "/api/v1/events") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    station = json.loads(line[6:])["stations"][0]
                    if wanted(station):
                        return station
        raise AssertionError(station)


@asynccontextmanager
async def running(folder: Path, port: int) -> AsyncIterator[Line]:
    """The page of a device, whose other processes say that they are well."""
    device = Device(folder, USERS)
    device.add("device.toml", SETTINGS.format(port=port))
    device.write("tags/plant.csv", "name,address,type,access,group\nReject,coil:0,bool,rw,slow\n")
    device.write("users.json", json.dumps({"bob": hash_password("password of bob")}))
    line = Line(device, port)
    with device.running():
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for name in ("runtime-safety", "camera-cam1", "connect-plant", "historian"):
                line.users[name] = await stack.enter_async_context(device.user(name))
            line.events = await line.users["historian"].hear(EVENT)
            playing = tasks.create_task(play(line))
            await line.up()
            yield line
            playing.cancel()


async def play(line: Line) -> None:
    """Say that they are well, again and again: silence is no health."""
    for seq in itertools.count(1):
        for name in ("runtime-safety", "connect-plant"):
            said = Status(process=name, state=State.ACTIVE, epoch=1, seq=seq, time_ns=time.time_ns())
            line.users[name].say(STATUS, said, process=name)
        await asyncio.sleep(1.0)


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


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = find_program("chromium")
    try:
        await asyncio.to_thread(build)
    except BuildError as error:
        absent("the built page", str(error))
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        await found.close()


async def opened(browser: Browser, line: Line, address: str = "", **options: Any) -> Page:
    """The page, logged in by a link; anything that the browser complains of fails the test."""
    context = await browser.new_context(**{"viewport": {"width": 1024, "height": 600}} | options)
    page = await context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: pytest.fail(f"the page raised {error}"))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    complaints: list[str] = []
    await page.goto(address or line.link)
    await expect(page.get_by_role("heading", name="l n")).to_be_visible()
    assert not [text for text in complaints if "Content Security" in text]
    return page


async def shown(page: Page, name: str) -> None:
    """Keep a picture of the page where somebody asked for it."""
    if folder := os.environ.get("PLANTEDGE_SCREENSHOTS"):
        await page.wait_for_timeout(600)
        await page.screenshot(path=str(Path(folder) / f"{name}.png"))


# -- without a browser -------------------------------------------------------------------------------------------------


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


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.mark.browser
async def test_a_reject_appears_within_a_second_with_its_picture_and_is_judged(line: Line, browser: Browser) -> None:
    asked: list[str] = []
    await line.parts(*[Verdict.OK] * 30)
    page = await opened(browser, line)

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    await expect(page.get_by_text("No part was rejected yet.")).to_be_visible()
    await expect(page.locator(".tile.state")).to_contain_text("Running")
    began = time.monotonic()
    line.part(Verdict.NOK)
    part = page.locator(".strip .part").first
    await part.wait_for()
    took_s = time.monotonic() - began
    assert await part.locator("img").evaluate("async (img) => { await img.decode(); return img.naturalWidth }") == 64
    await expect(page.locator(".tile.counts")).to_contain_text("30 good")
    await shown(page, "reject-1024")
    await part.click()
    await expect(page.get_by_role("heading", name="Part 1031")).to_be_visible()
    await page.get_by_role("button", name="It was good").click()
    await expect(page.get_by_text("Was good, says ann")).to_be_visible()
    await shown(page, "part-1024")
    await page.keyboard.press("Escape")
    await expect(part.locator(".said")).to_have_text("Was good")
    assert asked and all(url.startswith(line.url) for url in asked)
    assert took_s < 1.0


@pytest.mark.browser
async def test_labels_of_a_model_are_text_and_nothing_else(line: Line, browser: Browser) -> None:
    line.part(Verdict.NOK, label=SCRIPT, scores={SCRIPT: 0.9, "good": 0.1}, reason=SCRIPT)
    page = await opened(browser, line)
    part = page.locator(".strip .part").first
    await expect(part.locator(".what")).to_have_text(SCRIPT)
    await part.click()
    await expect(page.locator(".scores")).to_contain_text(SCRIPT)
    assert await page.title() == "PlantEdge line"


@pytest.mark.browser
async def test_a_lost_connection_is_said_with_its_age_and_heals(line: Line, browser: Browser) -> None:
    await line.parts(Verdict.OK)
    page = await opened(browser, line)
    await expect(page.locator(".tile.counts")).to_contain_text("1 good")
    hmi = line.device._processes[-1]
    hmi.terminate()
    await asyncio.to_thread(hmi.wait, 10)
    await expect(page.get_by_text("Connection to the device is lost.")).to_be_visible()
    await expect(page.locator(".frame.stale")).to_be_visible()
    await shown(page, "lost-1024")
    await line.up()
    await expect(page.get_by_text("Connection to the device is lost.")).to_be_hidden()
    line.part()
    await expect(page.locator(".tile.counts")).to_contain_text("2 good")


SIZES = [(1024, 600, "light"), (1920, 1080, "dark"), (600, 1024, "light")]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
async def test_axe_finds_nothing_and_fingers_find_everything(
    line: Line, browser: Browser, width: int, height: int, scheme: Any
) -> None:
    for count in range(12):
        await line.parts(*[Verdict.OK] * 5, Verdict.NOK if count % 3 else Verdict.UNKNOWN)
    page = await opened(browser, line, viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=True)
    await expect(page.locator(".tile.counts")).to_contain_text("60 good")
    await shown(page, f"line-{width}")
    assert await violations(page) == []
    small = await page.locator("button:visible").evaluate_all(
        "all => all.map((one) => [one.textContent, one.getBoundingClientRect()])"
        ".filter(([, box]) => box.width < 48 || box.height < 48).map(([text]) => text)"
    )
    assert small == []
    if width > 1000:  # nothing is out of sight
        assert await page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0
    await page.locator(".tile.oee").tap()
    await expect(page.get_by_role("heading", name="OEE-like figures")).to_be_visible()
    await shown(page, f"oee-{width}")
    assert await violations(page) == []
    await page.get_by_role("button", name="Close").tap()
    await page.locator(".strip .part").first.tap()
    await expect(page.get_by_role("button", name="Really bad")).to_be_visible()
    await shown(page, f"part-{width}")
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Log out").tap()
    await expect(page.get_by_label("Password")).to_be_visible()
    await shown(page, f"login-{width}")
    assert await violations(page) == []


@pytest.mark.browser
async def test_all_of_it_works_by_keyboard(line: Line, browser: Browser) -> None:
    await line.parts(*[Verdict.OK] * 3, Verdict.NOK)
    page = await opened(browser, line)
    await page.locator(".strip .part").first.wait_for()
    wanted = "Judge a random good part"
    for _ in range(40):
        await page.keyboard.press("Tab")
        focused = await page.evaluate("document.activeElement?.textContent ?? ''")
        if wanted in focused:
            break
    else:
        pytest.fail("the button is not reached by Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Really good")).to_be_visible()
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement?.textContent") == "Really good":
            break
    await page.keyboard.press("Space")
    await expect(page.get_by_text("Was good, says ann")).to_be_visible()
    await page.keyboard.press("Escape")
    assert wanted in await page.evaluate("document.activeElement?.textContent")  # where it was before


async def violations(page: Page) -> list[str]:
    """What axe finds, as `rule: element`."""
    axe = next(PRIVATE.glob("*/node_modules/axe-core/axe.min.js"), None)
    if axe is None:
        absent("axe-core", "python -m cloud.ui_build fetches it")
    await page.wait_for_timeout(300)
    await page.evaluate(axe.read_text())
    found = json.loads(await page.evaluate("axe.run().then((result) => JSON.stringify(result.violations))"))
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]
