"""The operators' page in a real browser, before people with gloves, keys, and a screen reader."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from cloud.ui_build import PRIVATE, BuildError, build
from schemas.messages import Event, Phase, Severity, Verdict
from schemas.topics import EVENT
from tests.conftest import absent, find_program
from tests.operator_line import Line, running

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(180)]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SCRIPT = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@pytest.fixture
async def line(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Line]:
    async with running(tmp_path, free_port()) as found:
        yield found


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


async def test_labels_of_a_model_are_text_and_nothing_else(line: Line, browser: Browser) -> None:
    line.part(Verdict.NOK, label=SCRIPT, scores={SCRIPT: 0.9, "good": 0.1}, reason=SCRIPT)
    page = await opened(browser, line)
    part = page.locator(".strip .part").first
    await expect(part.locator(".what")).to_have_text(SCRIPT)
    await part.click()
    await expect(page.locator(".scores")).to_contain_text(SCRIPT)
    assert await page.title() == "PlantEdge line"


async def test_who_judges_a_part_without_a_picture_is_told_so(line: Line, browser: Browser) -> None:
    line.part(Verdict.NOK, seen=False)
    page = await opened(browser, line)
    await page.locator(".strip .part").first.click()
    await expect(page.locator(".judging .hint")).to_contain_text("There is no picture of it")


async def test_a_lost_connection_is_said_with_its_age_and_heals(line: Line, browser: Browser) -> None:
    await line.parts(Verdict.OK)
    page = await opened(browser, line)
    await expect(page.locator(".tile.counts")).to_contain_text("1 good")
    hmi = line.device._processes[-1]
    hmi.terminate()
    await asyncio.to_thread(hmi.wait, 10)
    await expect(page.get_by_text("Connection to the device is lost.")).to_be_visible()
    await expect(page.locator(".frame.stale")).to_be_visible()
    since = await page.locator(".tile.state .why").inner_text()
    age = await page.locator(".banner").inner_text()
    await expect(page.locator(".banner")).not_to_have_text(age)
    assert await page.locator(".tile.state .why").inner_text() == since  # nobody knows whether it still runs
    await shown(page, "lost-1024")
    await line.up()
    await expect(page.get_by_text("Connection to the device is lost.")).to_be_hidden()
    line.part()
    await expect(page.locator(".tile.counts")).to_contain_text("2 good")


SIZES = [(1024, 600, "light"), (1920, 1080, "dark"), (600, 1024, "light"), (800, 480, "light"), (390, 844, "dark")]
# Text that is not all to be seen, but for names of any length, which end in dots.
CUT = """
  [...document.querySelectorAll(".screen *:not(.what, .visually-hidden, .picture *), .top *")].filter((one) => {
    const style = getComputedStyle(one);
    return style.overflowX === "hidden" && !style.clipPath.startsWith("inset")
      && (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1);
  }).map((one) => `${one.className}: ${one.textContent}`)
"""


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
    assert await page.evaluate(CUT) == []
    if width > 700:  # nothing is out of sight
        assert await page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0
    await page.locator(".tile.oee").tap()
    await expect(page.get_by_role("heading", name="OEE-like figures")).to_be_visible()
    await shown(page, f"oee-{width}")
    assert await violations(page) == []
    await page.get_by_role("button", name="Close").tap()
    await page.locator(".strip .part").first.tap()
    await expect(page.get_by_role("button", name="Really bad")).to_be_visible()
    await expect(page.get_by_role("button", name="Can't tell")).to_be_in_viewport(ratio=1)
    await expect(page.get_by_text("Nobody has judged this part yet.")).to_be_in_viewport(ratio=1)
    await shown(page, f"part-{width}")
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Log out").tap()
    await expect(page.get_by_label("Password")).to_be_visible()
    await shown(page, f"login-{width}")
    assert await violations(page) == []


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


async def test_a_second_tap_of_a_finger_judges_nothing(line: Line, browser: Browser) -> None:
    await line.parts(*[Verdict.NOK] * 4)
    page = await opened(browser, line, viewport={"width": 1024, "height": 768}, has_touch=True)
    part, dialog = page.locator(".strip .part").nth(1), page.locator("dialog[open]")
    await part.tap()
    box = await page.get_by_role("button", name="Really bad", exact=True).bounding_box()
    await page.keyboard.press("Escape")
    assert box is not None
    for x, y in ((box["x"] + 40, box["y"] + 20), (5, 5)):  # where a button appears, and beside what appears
        await part.tap()
        await dialog.wait_for()
        await page.touchscreen.tap(x, y)
        await page.wait_for_timeout(300)
        await expect(page.get_by_text("Nobody has judged this part yet.")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
    await part.tap()
    await page.get_by_role("button", name="Really bad", exact=True).tap(trial=True)  # it takes touches by now
    for _ in range(2):  # who taps twice has said it once
        await page.touchscreen.tap(box["x"] + 40, box["y"] + 20)
        await expect(page.get_by_text("Really bad, says ann")).to_be_visible()
    await page.wait_for_timeout(300)
    await expect(page.get_by_text("changed once")).to_have_count(0)


async def test_rejects_stand_still_under_a_finger_and_where_somebody_looks(line: Line, browser: Browser) -> None:
    await line.parts(*[Verdict.NOK] * 12)
    page = await opened(browser, line)
    strip = page.locator(".strip ul")
    box = await page.locator(".strip .part").nth(2).bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 20, box["y"] + 20)
    await page.mouse.down()
    line.part(Verdict.NOK)
    await expect(page.locator(".tile.counts")).to_contain_text("13 rejects")
    await expect(page.get_by_role("button", name="1 newer")).to_be_visible()
    await page.mouse.up()
    await expect(page.get_by_role("heading", name="Part 1010")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(strip.locator(".part").first).to_contain_text("#1013")
    await strip.evaluate("list => list.scrollTo({ left: 400 })")
    await expect(page.locator(".newer")).to_have_count(0)
    await line.parts(Verdict.NOK, Verdict.NOK)
    await page.get_by_role("button", name="2 newer").click()
    await expect(strip.locator(".part").first).to_contain_text("#1015")
    assert await strip.evaluate("list => list.scrollLeft") == 0


async def test_the_newest_part_that_opens_is_the_one_that_was_touched(line: Line, browser: Browser) -> None:
    await line.parts(Verdict.OK)
    page = await opened(browser, line)
    await page.locator(".newest").hover()
    await page.mouse.down()
    line.part(Verdict.OK)
    await expect(page.locator(".newest")).to_contain_text("Part 1002")
    await page.mouse.up()
    await expect(page.get_by_role("heading", name="Part 1001")).to_be_visible()


async def test_times_of_day_are_those_of_the_device(line: Line, browser: Browser) -> None:
    here = time.localtime().tm_gmtoff // 3600
    page = await opened(browser, line, timezone_id=f"Etc/GMT{-(here + 5) if here < 5 else 5 - here:+d}")
    await expect(page.locator(".shift")).to_have_text(re.compile("Shift (06:00.14:00|14:00.22:00|22:00.06:00)"))
    said = await page.locator(".clock").inner_text()
    told = [time.strftime("%H:%M:%S", time.localtime(time.time() - ago)) for ago in range(-2, 5)]
    assert said in told


async def test_alarms_are_counted_where_nobody_has_to_tap(line: Line, browser: Browser) -> None:
    page = await opened(browser, line)
    await expect(page.locator(".tile.state .also")).to_have_count(0)
    for phase, found in ((Phase.NEW, 1), (Phase.END, 0)):
        alarm = Event(
            key="k", origin="connect-plant", code="plc_lost", phase=phase, severity=Severity.ALARM, text="no PLC",
            args={}, time_ns=time.time_ns(), epoch=1, seq=1 + found,
        )  # fmt: skip
        line.users["connect-plant"].say(EVENT, alarm, origin="connect-plant", kind="plc_lost")
        await expect(page.locator(".tile.state .also")).to_have_text(["1 alarm"] * found)


async def test_who_is_still_logged_in_and_who_is_not_any_more_is_told(line: Line, browser: Browser) -> None:
    await line.parts(Verdict.NOK)
    page = await opened(browser, line)
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_label("Name").fill("bob")
    await page.get_by_label("Password").fill("password of bob")
    await page.get_by_role("button", name="Log in").click()
    await page.locator(".strip .part").first.wait_for()
    await page.route("**/api/v1/logout", lambda route: route.abort())
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_text("You are still logged in.")).to_be_visible()
    line.device.write("users.json", "{}")
    await page.locator(".strip .part").first.click()
    await expect(page.get_by_text("Your session has ended. Log in again.")).to_be_visible()


async def test_a_panel_that_is_loaded_again_shows_the_pipeline_that_it_showed(
    tmp_path: Path, free_port: Callable[[], int], browser: Browser
) -> None:
    names = [f"a_station_with_quite_a_long_name_{number}" for number in range(6)]
    table = '[pipelines.{}]\nlane = "safety"\nmodel = "caps"\ninput = {{ frames = "cam1" }}\ndeadline_ms = 50\n'
    more = f"pipelines = {json.dumps(['inspect', *names])}\n" + "".join(table.format(name) for name in names)
    async with running(tmp_path, free_port(), more) as line:
        page = await opened(browser, line)
        await shown(page, "stations-1024")
        await page.get_by_role("button", name="name 4").click()
        await page.reload()
        await expect(page.locator("[aria-current=page]")).to_have_text("a station with quite a long name 4")
        await expect(page.locator("[aria-current=page]")).to_be_in_viewport(ratio=1)
        line.lost = "no answer"
        await expect(page.get_by_role("button", name="Fail-safe: inspect")).to_be_visible()  # of another one


async def violations(page: Page) -> list[str]:
    """What axe finds, as `rule: element`."""
    axe = next(PRIVATE.glob("*/node_modules/axe-core/axe.min.js"), None)
    if axe is None:
        absent("axe-core", "python -m cloud.ui_build fetches it")
    await page.wait_for_timeout(300)
    await page.evaluate(axe.read_text())
    found = json.loads(await page.evaluate("axe.run().then((result) => JSON.stringify(result.violations))"))
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]
