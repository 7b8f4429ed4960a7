"""The page's session in a browser: the token is out of sight, outlasts a reload, and hidden tabs hold no stream."""

from datetime import datetime
from typing import Any

from playwright.sync_api import Browser, Page, expect
from support.pages import Seen, link_of, open_context
from support.processes.nodes import Node, operator_of
from web.parts import OpenPage

SHUT_OUT = "Open the link that openledger-node status prints"
CONNECTIONS_MAX = 6
"""That a browser has to one host over HTTP/1.1, for all of its tabs."""

TURN = """(state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def turn(page: Page, state: str) -> None:
    """Have a page believe that its tab is "hidden", or "visible"."""
    page.evaluate(TURN, state)


def wait_until_heard(page: Page) -> None:
    page.locator("#bar .state[data-tone]").wait_for()


# ---- the token


def test_the_token_is_in_no_address_once_the_link_was_opened(alone: Node, browser: Browser) -> None:
    asked: list[str] = []
    with open_context(browser) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))  # all that is sent of it
        page.goto(link_of(alone.home))
        wait_until_heard(page)
        token = page.evaluate("() => localStorage.getItem('openledger-token')")
        assert len(token) == 43
        assert page.evaluate("() => location.href") == f"{alone.url}/"
        assert page.evaluate("() => document.cookie") == ""
    assert f"{alone.url}/operator/events" in asked
    assert [url for url in asked if token in url] == []


def test_a_guessed_token_shuts_nobody_out_and_a_browser_without_one_is_asked_to_open_a_link(
    alone: Node, open_page: OpenPage, seen: Seen
) -> None:
    seen.is_forgiven = True
    page = open_page(alone)
    other = page.context.new_page()
    other.goto(f"{alone.url}/#t=guess")
    wait_until_heard(other)
    assert "guess" not in other.url
    page.evaluate("() => localStorage.clear()")
    page.reload()
    expect(page.locator("main")).to_contain_text(SHUT_OUT)
    expect(page.locator("#nav")).to_be_empty()


# ---- tabs that nobody looks at


def test_more_tabs_than_a_browser_has_connections_all_open(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    for _ in range(CONNECTIONS_MAX + 1):
        turn(page, "hidden")
        page = page.context.new_page()
        page.goto(alone.url)
        wait_until_heard(page)


def test_a_hidden_page_asks_nothing_is_not_called_gone_and_hears_at_once_when_it_is_looked_at(
    alone: Node, open_page: OpenPage
) -> None:
    page = open_page(alone, is_own=True)
    page.clock.install(time=datetime(2026, 1, 1))
    page.reload()
    wait_until_heard(page)
    asked = watch(page)
    turn(page, "hidden")
    page.clock.fast_forward("01:00")
    page.clock.run_for(5_000)
    assert asked == []
    expect(page.locator("#gone")).to_be_empty()
    page.clock.pause_at(datetime(2026, 1, 2))  # whatever would come after a while does not come
    with operator_of(alone.home) as operator:
        try:
            operator.post("/pause", json={}).raise_for_status()
            with page.expect_request("**/operator/events"):
                turn(page, "visible")
            expect(page.locator("#bar .state")).to_have_text("Paused")
        finally:
            operator.post("/resume").raise_for_status()
        expect(page.locator("#bar .state")).to_contain_text("Idle")


def watch(page: Page) -> list[str]:
    """Which of the routes that tell how the node is were asked from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if is_live(request) else None)
    return asked


def is_live(request: Any) -> bool:
    return request.url.endswith(("/operator/events", "/operator/status"))
