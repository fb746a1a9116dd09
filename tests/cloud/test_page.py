"""The page in a real browser, fed by devices with certificates through the real broker."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from cloud.page import STATIC
from cloud.ui_build import PRIVATE, BuildError, build
from schemas.messages import Phase
from tests.cloud.conftest import RunningFleet
from tests.cloud.fleet_messages import alert, health, models, pipeline
from tests.conftest import absent, find_program

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]
Until = Callable[..., Awaitable[None]]
MakeFleet = Callable[..., Awaitable[RunningFleet]]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def page_is_built() -> Path:
    try:
        build()
    except BuildError as error:
        absent("the built page", str(error))
    return STATIC


@pytest.fixture
async def browser(page_is_built: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=find_program("chromium"), args=FLAGS)
        yield found
        await found.close()


async def opened(browser: Browser, fleet: RunningFleet, path: str = "/", **options: object) -> Page:
    """A page, logged in by a link; anything that the browser complains of fails the test."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, **options)  # type: ignore[arg-type]
    page = await context.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: pytest.fail(f"the page raised {error}"))
    await page.goto(f"{fleet.url}/login?once={await fleet.service.accounts.add_link()}")
    await expect(page.get_by_role("link", name="Overview")).to_be_visible()
    if path != "/":
        await page.goto(fleet.url + path)
    return page


async def violations(page: Page) -> list[str]:
    """What axe finds, as `rule: element`."""
    axe = next(PRIVATE.glob("*/node_modules/axe-core/axe.min.js"), None)
    if axe is None:
        absent("axe-core", "python -m cloud.ui_build fetches it")
    await page.evaluate(axe.read_text())
    found = json.loads(await page.evaluate("axe.run().then((result) => JSON.stringify(result.violations))"))
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


async def test_a_device_appears_changes_and_goes_offline_by_itself(
    make_fleet: MakeFleet, browser: Browser, until: Until
) -> None:
    fleet = await make_fleet(stale_after_s=3)
    page = await opened(browser, fleet, "/devices")
    await expect(page.get_by_text("0 of 0 match")).to_be_visible()
    device = await fleet.device("press-7")
    await device.tell(health(), models(caps="1.2.0"))
    row = page.get_by_role("row").filter(has_text="press-7")
    await expect(row.get_by_text("OK", exact=True)).to_be_visible()
    await expect(row.get_by_text("caps 1.2.0")).to_be_visible()
    await device.tell(health(2, state="alarm", reasons=["plc_lost"], pipelines=[pipeline(p99_ms=12.5)]))
    await expect(row.get_by_text("Alarm")).to_be_visible()
    await expect(row.get_by_text("A PLC does not answer")).to_be_visible()
    await expect(row.get_by_text("12.5")).to_be_visible()
    await expect(row.get_by_text("Offline")).to_be_visible()
    await expect(row.get_by_text("No health received")).to_be_visible()
    await device.tell(health(3))
    await expect(row.get_by_text("OK", exact=True)).to_be_visible()


async def test_the_filter_is_in_the_address_and_says_how_many_match(
    fleet: RunningFleet, browser: Browser, until: Until
) -> None:
    for node, state in (("press-1", "ok"), ("press-2", "alarm"), ("oven-1", "ok")):
        await (await fleet.device(node)).tell(health(state=state, line=node[:-2]))
    page = await opened(browser, fleet, "/devices?q=state:ok")
    await expect(page.get_by_text("2 of 3 match")).to_be_visible()
    await page.keyboard.press("/")
    await expect(page.locator("#filter")).to_be_focused()
    await page.keyboard.type("press p99>1")
    await expect(page.get_by_role("row").filter(has_text="oven-1")).to_have_count(0)
    await expect(page.get_by_text("2 of 3 match")).to_be_visible()
    assert page.url.endswith("/devices?q=press+p99%3E1")
    await page.keyboard.press("Enter")
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(".row.active")).to_contain_text("press-1")
    await (await fleet.device("press-0")).tell(health(state="alarm"))
    await expect(page.get_by_role("row").nth(1)).to_contain_text("press-0")
    await expect(page.locator(".row.active")).to_contain_text("press-1")  # its place changed, not what Enter opens
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("press-1")
    await page.go_back()
    await expect(page.locator("#filter")).to_have_value("press p99>1")
    await page.fill("#filter", "sit:berlin")
    await expect(page.locator("p[role=alert]")).to_contain_text("did you mean site?")
    await page.goto(f"{fleet.url}/")
    await page.locator(".tile.alarm").click()
    await expect(page.get_by_text("2 of 4 match")).to_be_visible()


async def test_an_alert_is_acknowledged_and_a_device_pinged_and_configured(
    fleet: RunningFleet, browser: Browser, until: Until
) -> None:
    device = await fleet.device("press-7")
    await device.tell(health(state="alarm", reasons=["plc_lost"]), alert("ab", Phase.NEW, 1), models(caps="1.2.0"))
    page = await opened(browser, fleet)
    await page.get_by_role("button", name="Acknowledge").click()
    await page.get_by_label("Note").fill("cable")
    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_text("No unacknowledged alerts.")).to_be_visible()
    await page.goto(f"{fleet.url}/devices/press-7")
    await expect(page.get_by_text("acknowledged by admin: cable")).to_be_visible()
    await page.get_by_role("button", name="Ping").click()
    await expect(page.get_by_role("cell", name="ping")).to_be_visible()
    await page.get_by_text("Change a section").click()
    await page.get_by_label("Section").fill("mirror")
    await page.get_by_label("Values (JSON)").fill('{"period_ms": 500}')
    await page.get_by_role("button", name="Send to press-7").click()
    await expect(page.get_by_text("waits for the device")).to_be_visible()
    assert fleet.service.commands.config("press-7").sections == {"mirror": {"period_ms": 500}}


async def test_data_that_is_not_live_any_more_is_visibly_stale_and_comes_back(
    fleet: RunningFleet, browser: Browser, until: Until
) -> None:
    device = await fleet.device("press-7")
    await device.tell(health())
    page = await opened(browser, fleet, "/devices")
    port = fleet.service.port
    await expect(page.get_by_text("1 of 1 match")).to_be_visible()
    await fleet.stop()
    await expect(page.get_by_text("Live updates are lost")).to_be_visible()
    await expect(page.locator(".frame.stale")).to_be_visible()
    fleet.options = type(fleet.options)(port=port)
    await fleet.start()
    await device.tell(health(2, state="degraded"))
    await expect(page.get_by_text("Degraded").last).to_be_visible()
    await expect(page.get_by_text("Live updates are lost")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(fleet: RunningFleet, browser: Browser, scheme: str, until: Until) -> None:
    for at, state in enumerate(("ok", "degraded", "alarm")):
        device = await fleet.device(f"press-{at}")
        await device.tell(health(state=state, reasons=["plc_lost"]), alert("ab", Phase.NEW, 1), models(caps="1.2.0"))
    await until(lambda: fleet.service.fleet.totals.unacked == 3)
    page = await opened(browser, fleet, color_scheme=scheme)
    for path in ("/", "/devices", "/devices/press-1", "/alerts"):
        await page.goto(fleet.url + path)
        await expect(page.get_by_text("press-1").first).to_be_visible()
        await page.wait_for_timeout(300)  # transitions of colours end
        assert await violations(page) == [], path
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
    assert await violations(page) == []


async def test_a_password_logs_in_and_a_wrong_one_says_so(fleet: RunningFleet, browser: Browser) -> None:
    password = fleet.service.accounts.first_password()
    page = await (await browser.new_context()).new_page()
    await page.goto(f"{fleet.url}/devices?q=x")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("wrong")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text("0 of 0 match")).to_be_visible()


async def test_five_thousand_devices_stay_a_few_rows_of_the_document(
    fleet: RunningFleet, browser: Browser, until: Until
) -> None:
    simulator = await fleet.everybody()
    for at in range(5_000):
        state = "alarm" if at % 100 == 0 else "ok"
        simulator.say(f"press-{at:04}", health(site=f"site-{at % 9}", state=state))
        if at % 250 == 0:
            await simulator.settled()
    await until(lambda: fleet.service.fleet.totals.devices == 5_000, 60)
    page = await opened(browser, fleet, "/devices?sort=id")
    await expect(page.get_by_text("5,000 of 5,000 match")).to_be_visible()
    rows = page.locator(".row:not(.head)")
    assert await rows.count() < 60
    tops = await rows.evaluate_all("rows => rows.map((row) => row.getBoundingClientRect().top)")
    assert {round(below - above) for above, below in pairwise(tops)} == {38}
    await page.locator(".grid").focus()
    await page.keyboard.press("End")
    await expect(page.locator(".row.active")).to_contain_text("press-4999")
    assert await rows.count() < 60
    await page.fill("#filter", "state:alarm site:site-1")
    await expect(page.get_by_text("6 of 5,000 match")).to_be_visible()
    simulator.say("press-0001", health(2, site="site-1", state="alarm"))
    await expect(page.get_by_text("7 of 5,000 match")).to_be_visible()
    await page.goto(f"{fleet.url}/")
    await expect(page.get_by_role("img", name="All devices by site: 4949 OK")).to_be_visible()
