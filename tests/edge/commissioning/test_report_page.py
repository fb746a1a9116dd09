"""The report in a real browser: on a screen, on A4, and with hostile values."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from edge.commissioning.record import Row, at_most, found
from edge.commissioning.report_html import html_page
from tests.cloud.test_page import FLAGS
from tests.conftest import find_program
from tests.edge.commissioning.acceptance import TRACE, acceptance, good_row

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]
A4_PX = 680  # between the margins, at 96 to the inch
LONG = "a_very_long_word_that_nobody_breaks_" * 8
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=find_program("chromium"), args=FLAGS)
        yield opened
        await opened.close()


def row(text: str) -> Row:
    return found(text, text, text, text, [at_most(text, 1.0, 2.0)], note=text, events=[text] * 5, trace=TRACE)


@pytest.mark.parametrize(("width", "media"), [(A4_PX, "print"), (1200, "screen")])
async def test_nothing_runs_out_of_the_page(browser: Browser, tmp_path: Path, width: int, media: str) -> None:
    (tmp_path / "report.html").write_text(html_page(acceptance(good_row(), row(LONG), text=LONG[:60])))
    page = await browser.new_page(viewport={"width": width, "height": 900})
    await page.emulate_media(media=media)  # type: ignore[arg-type]
    await page.goto((tmp_path / "report.html").as_uri())
    wide = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] <= wide[1], wide
    for svg in await page.query_selector_all("svg"):
        box = await svg.bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 60


async def test_a_report_with_twelve_steps_prints_on_few_pages(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html_page(acceptance(*(good_row(f"step-{n}") for n in range(12)))))
    page = await browser.new_page()
    await page.goto((tmp_path / "report.html").as_uri())
    sheet = await page.pdf(prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", sheet))
    assert 3 <= pages <= 9, pages
    assert re.search(rb"/MediaBox\s*\[0 0 59[45][\d.]* 84[12]", sheet), "A4"


async def test_values_are_shown_and_never_run(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html_page(acceptance(row(HOSTILE), text=HOSTILE)))
    page = await browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto((tmp_path / "report.html").as_uri())
    assert await page.title() != "taken"
    assert await page.get_by_text("<script>document.title='taken'</script>").count() > 5
    assert len(asked) == 1, "the page asks for nothing but itself"
