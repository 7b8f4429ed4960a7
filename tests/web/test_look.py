"""What everybody must be able to read, reach and name, on every screen and width, in light and dark."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support.pages import TIMEOUT_MS, show
from support.processes.nodes import Node

OpenPage = Callable[..., Page]
AUDIT = (Path(__file__).parent / "audit.js").read_text()
WIDTHS = {"light": (320, 380, 768, 1024, 1280, 1920), "dark": (380, 1280)}
"""The colours of the dark page are its own, and its sizes are those of the light one."""

# Runs before the page's own scripts: `numAsking` is how many of its requests have no answer, or are still being read.
COUNT = """
    window.numAsking = 0;
    const counted = (ask) => function (...all) {
        numAsking++;
        const answer = ask.apply(this, all), end = () => setTimeout(() => numAsking--); // once its reader has gone on
        answer.then(end, end);
        return answer;
    };
    window.fetch = counted(window.fetch);
    Response.prototype.json = counted(Response.prototype.json);
"""
# Returns once the node has told all that it tells by itself, nothing is being asked, and two frames are drawn.
SETTLE = """async (timeoutMs) => {
    const { latest } = await import("/lib/events.js"), deadline = performance.now() + timeoutMs;
    const ofChain = () => latest.state?.chain === "ok" ? ["money", "chain"] : [];
    const ofPeers = () => latest.state?.peer_id ? ["peers"] : [];
    const topics = () => ["state", "jobs", "engine", "factory", ...ofChain(), ...ofPeers()];
    for (let numFrames = 0; numFrames < 2;) {
        await new Promise((wake) => requestAnimationFrame(wake));
        numFrames = numAsking || !topics().every((topic) => topic in latest) ? 0 : numFrames + 1;
        if (performance.now() > deadline) throw new Error(`${numAsking} still asked; heard ${Object.keys(latest)}`);
    }
}"""


def audit(page: Page) -> list[str]:
    """Read what people could not read, reach or name, once the page has all its facts and is drawn."""
    page.locator("main h1").wait_for()
    page.evaluate(SETTLE, TIMEOUT_MS)
    found: list[str] = page.evaluate(AUDIT)
    return found


def screens_of(page: Page) -> list[str]:
    names: list[str] = page.eval_on_selector_all("#nav li a", "(links) => links.map((each) => each.hash.slice(2))")
    return names


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["alone", "earner", "among_others"])
def test_every_screen_can_be_read_reached_and_named_at_every_width(
    request: pytest.FixtureRequest, open_page: OpenPage, name: str, scheme: str
) -> None:
    page = open_page(request.getfixturevalue(name), scheme=scheme, script=COUNT)
    found = {}
    for screen in screens_of(page):
        show(page, screen)
        for width in WIDTHS[scheme]:
            page.set_viewport_size({"width": width, "height": 900})
            if complaints := audit(page):
                found[f"{screen} at {width}"] = complaints
    assert found == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_and_the_menu_can_be_read_too(alone: Node, open_page: OpenPage, scheme: str) -> None:
    page = open_page(alone, width=380, scheme=scheme, script=COUNT)
    page.locator("#menu").click()
    expect(page.locator("#nav")).to_be_visible()
    assert audit(page) == []
    page.locator("#menu").click()
    page.locator("main button", has_text="Change limits").click()
    assert audit(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert audit(page) == []


def test_columns_of_second_rank_leave_a_narrow_page_and_a_row_opens_to_show_them(
    earner: Node, open_page: OpenPage
) -> None:
    page = open_page(earner, width=380)
    row = page.locator('main tr[data-key^="row 0x"]').first
    row.wait_for()
    assert row.locator(".rank2").first.is_hidden()
    row.focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr.more.open")).to_contain_text("First token")


def test_j_and_k_walk_the_rows(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    rows = page.locator("main tbody tr[tabindex]")
    rows.first.wait_for()
    page.keyboard.press("j")
    expect(rows.first).to_be_focused()
    page.keyboard.press("j")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.first).to_be_focused()


def test_arrows_move_the_cursor_of_every_chart_at_once(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    plots, cursors = page.locator(".charts .plot"), page.locator('.charts .cursor[visibility="visible"]')
    plots.first.focus()
    page.keyboard.press("ArrowLeft")
    expect(cursors).to_have_count(plots.count())
    page.locator("h1").click()
    expect(cursors).to_have_count(0)
