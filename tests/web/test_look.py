"""What everybody must be able to read, reach and name, on every screen and width, in light and dark."""

import pytest
from playwright.sync_api import Page, expect
from support.pages import AUDIT, TIMEOUT_MS, is_command, show
from support.processes.nodes import Node
from web.parts import OpenPage

WIDTHS = {"light": (320, 768, 1280), "dark": (380,)}
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


@pytest.mark.parametrize(("name", "scheme"), [("alone", "light"), ("earner", "light"), ("earner", "dark")])
def test_every_screen_can_be_read_reached_and_named_at_every_width(
    request: pytest.FixtureRequest, open_page: OpenPage, name: str, scheme: str
) -> None:
    page = open_page(request.getfixturevalue(name), scheme=scheme, script=COUNT)
    found, lines = {}, set[str]()
    for screen in screens_of(page):
        show(page, screen)
        for width in WIDTHS[scheme]:
            page.set_viewport_size({"width": width, "height": 900})
            if complaints := audit(page):
                found[f"{screen} at {width}"] = complaints
        lines |= set(page.locator(".cli code").all_inner_texts())
    assert found == {}
    assert lines
    assert [line for line in sorted(lines) if not is_command(line)] == [], "a line that is printed can be typed"


def test_dialogs_and_the_menu_can_be_read_too(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone, width=380, script=COUNT)
    page.locator("#menu").click()
    expect(page.locator("#nav")).to_be_visible()
    assert audit(page) == []
    page.locator("#menu").click()
    page.locator("main button", has_text="Change limits").click()
    assert audit(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert audit(page) == []
