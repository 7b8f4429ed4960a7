"""The page's frame: how it opens, what it says of the node at once, and how it is used without a mouse."""

import re
import signal

import pytest
from playwright.sync_api import Route, expect
from support.pages import Seen, show
from support.processes.nodes import Node, command_json, operator_of
from web.parts import OpenPage

SILENT_MS = 14_000  # longer than the page waits for its stream
ANSWERS_WITHIN_MS = 5_000  # no longer does it wait for an answer
AGAIN_MS = 3_000  # after which it asks again
# Playwright's clock leaves AbortSignal.timeout alone, so it is made of a timer that the clock drives.
TIMEOUT_BY_CLOCK = """AbortSignal.timeout = (timeoutMs) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new DOMException("too late", "TimeoutError")), timeoutMs);
    return controller.signal;
};"""
CONTROLS = "button:not(:disabled), a[href], input"
# By what they bear, since a part of the page may be drawn anew while it is walked through.
NAMES = """(all) => all.filter((each) => each.offsetParent)
    .map((each) => each.dataset.key ?? each.getAttribute("href") ?? each.id)"""
TABS_MAX = 100  # several times around


def test_pause_and_resume_do_what_the_verbs_do(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    expect(page.locator("h1")).to_have_text("Home")
    expect(page.locator("#nav a[aria-current]")).to_have_text("Home")
    page.locator("#bar button", has_text="Pause").click()
    expect(page.locator("#bar .state")).to_have_text("Paused")
    assert command_json(alone.home, "status")["state"] == "paused"
    page.locator("#bar button", has_text="Resume").click()
    expect(page.locator("#bar .state")).to_contain_text("Idle")
    assert command_json(alone.home, "status")["state"] == "idle"


def test_a_screen_that_arrives_late_does_not_take_the_place_of_the_one_chosen_since(
    alone: Node, open_page: OpenPage
) -> None:
    page = open_page(alone)
    late: list[Route] = []
    page.context.route("**/screens/home.js", lambda route: late.append(route))
    with page.expect_request("**/screens/home.js"):
        page.reload(wait_until="commit")
    show(page, "adapters")
    for route in late:
        route.continue_()
    page.evaluate("() => import('./screens/home.js')")  # returns once the page has it too
    expect(page.locator('#nav a[href="#/adapters"]')).to_have_attribute("aria-current", "page")
    expect(page).to_have_title(re.compile("Adapters"))


def test_a_node_that_hangs_leaves_its_last_figures_and_turns_buttons_off_until_it_is_back(
    alone: Node, open_page: OpenPage, seen: Seen
) -> None:
    seen.is_forgiven = True
    page = open_page(alone, script=TIMEOUT_BY_CLOCK)
    page.clock.install()
    page.reload()
    change, gone = page.locator("main button", has_text="Change limits"), page.locator("#gone")
    expect(change).to_be_enabled()
    expect(page.locator(".sentence")).to_contain_text("Nothing to answer")
    alone.signal(signal.SIGSTOP)
    try:
        with page.expect_request("**/operator/status"):
            page.clock.run_for(SILENT_MS)
        expect(gone).to_be_empty()
        page.clock.run_for(ANSWERS_WITHIN_MS)
        expect(gone).to_contain_text("The node is not running")
        expect(gone).to_contain_text("buttons are off until the node is back")
        expect(page.locator(".sentence")).to_contain_text("Nothing to answer")
        expect(change).to_be_disabled()
    finally:
        alone.signal(signal.SIGCONT)
    page.clock.run_for(AGAIN_MS)
    expect(gone).to_be_empty()
    expect(change).to_be_enabled()


def test_without_its_stream_the_page_asks_by_itself_says_that_the_node_is_gone_and_asks_for_a_new_link(
    alone: Node, open_page: OpenPage, seen: Seen
) -> None:
    seen.is_forgiven = True
    page = open_page(alone)
    page.context.route("**/operator/events", lambda route: route.abort())
    page.reload()
    page.locator("#bar .state[data-tone]").wait_for()
    with operator_of(alone.home) as operator:
        try:
            operator.post("/pause", json={}).raise_for_status()
            expect(page.locator("#bar .state")).to_have_text("Paused", timeout=8_000)
        finally:
            operator.post("/resume").raise_for_status()
    page.context.route("**/operator/**", lambda route: route.abort("connectionrefused"))  # it was killed
    expect(page.locator("#gone")).to_contain_text("The node is not running")
    page.context.route("**/operator/**", lambda route: route.fulfill(status=401, json={}))  # it was started anew
    expect(page.locator("main")).to_contain_text("Open the link that openledger-node status prints")


def test_the_keyboard_alone_reaches_every_control(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    page.locator("main .cli").first.wait_for()
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    reached: set[str] = set()
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        reached |= set(page.eval_on_selector_all(":focus", NAMES))
        missed = set(page.eval_on_selector_all(CONTROLS, NAMES)) - reached
        if not missed:
            return
    pytest.fail(f"no Tab leads to {sorted(missed)}")


def test_a_dialog_gives_the_focus_back(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("Keyboard")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    opener = page.locator("main button", has_text="Change limits")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_contain_text("Change limits")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
