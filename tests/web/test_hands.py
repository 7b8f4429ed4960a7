"""What a person presses, types and opens is not lost while the page draws itself anew."""

import pytest
from playwright.sync_api import Locator, Page, expect
from support.pages import Seen, draw_again
from support.processes.nodes import Node
from web.parts import OpenPage

# A place of the test's own at the top of the page, with `draw(text)` that puts a button there; `clicks` are heard.
PLACE = """async () => {
    const { h, put } = await import("/lib/dom.js");
    const place = h("div", { id: "place" });
    document.querySelector("main").prepend(place);
    window.clicks = [];
    window.draw = (text) => put(place, h("button", { dataset: { key: "b" }, onclick: () => {
        clicks.push(text);
        put(place, h("b", {}, `clicked ${text}`));
        clicks.push(place.textContent);
    } }, text), h("span", {}, " beside"));
    draw("first");
}"""

# The same within another place; `drawBroken` fails once the element is made, `drawAround` does not.
BROKEN = """async () => {
    const { h, put } = await import("/lib/dom.js");
    const place = document.querySelector("#place"), around = h("section", { id: "around" });
    place.replaceWith(around);
    around.append(place);
    window.drawBroken = () => put(place, () => { throw new Error("no facts"); });
    window.drawAround = () => put(around, "drawn");
    try { drawBroken(); } catch { /* its caller hears of it */ }
}"""

# A list like that of Peers, with another address each time that it is heard.
HEAR_PEERS = """async () => {
    const { latest, poll } = await import("/lib/events.js");
    const peer = (n, adapter) => ({ peer_id: `peer-${n}-0000000000`, address: `/ip4/10.0.0.${n}/tcp/${++window.port}`,
        adapters: [adapter], serves: true, is_connected: true, learned_from: "mdns", wallet: null });
    window.port ??= 4000;
    latest.peers = { peer_id: "own", addresses: [], peers: [peer(1, "harbour"), peer(2, "lake")] };
    await poll();
}"""


def press(page: Page, place: Locator) -> None:
    box = place.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()


@pytest.fixture
def place(alone: Node, open_page: OpenPage) -> Locator:
    page = open_page(alone)
    page.evaluate(PLACE)
    return page.locator("#place")


def test_what_cannot_be_drawn_leaves_what_there_was_and_holds_up_no_other(place: Locator, seen: Seen) -> None:
    page = place.page
    page.evaluate(BROKEN)
    expect(place).to_have_text("first beside")
    press(page, place.locator("button"))
    page.evaluate("() => { drawBroken(); drawAround(); }")
    page.mouse.move(0, 0)
    page.mouse.up()
    expect(page.locator("#around")).to_have_text("drawn")
    assert seen.complaints == ["no facts"]
    seen.is_forgiven = True


def test_new_content_waits_for_the_pointer_and_does_not_undo_what_a_click_puts(place: Locator) -> None:
    page = place.page
    press(page, place.locator("button"))
    page.evaluate("() => { draw('second'); draw('third'); }")
    page.mouse.move(600, 500)
    expect(place).to_have_text("first beside")
    page.mouse.up()
    expect(place).to_have_text("third beside")
    press(page, place.locator("button"))
    page.evaluate("() => draw('fourth')")
    expect(place).to_have_text("third beside")
    page.evaluate("() => document.body.dispatchEvent(new PointerEvent('pointercancel', { bubbles: true }))")
    expect(place).to_have_text("fourth beside")
    page.mouse.up()
    press(page, place.locator("button"))
    page.evaluate("() => draw('fifth')")
    page.mouse.up()
    draw_again(page)
    assert page.evaluate("() => clicks") == ["fourth", "clicked fourth"]
    expect(place).to_have_text("clicked fourth")


def test_a_filter_is_typed_as_it_is_meant_while_peers_are_heard(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone, "peers")
    page.evaluate(HEAR_PEERS)
    field = page.locator(".filter")
    field.focus()
    for letter in "har":
        page.keyboard.type(letter)
        page.evaluate(HEAR_PEERS)
    expect(field).to_have_value("har")
    expect(page.locator('[data-key^="row peer-"]')).to_have_count(1)
    page.keyboard.press("ArrowLeft")
    page.evaluate(HEAR_PEERS)
    page.keyboard.press("Backspace")
    expect(field).to_have_value("hr")


def test_what_is_typed_in_a_held_field_stays_unless_the_screen_writes_it(place: Locator) -> None:
    page = place.page
    page.evaluate("""async () => {
        const { h, put } = await import("/lib/dom.js");
        window.draw = (value) => put(document.querySelector("#place"), h("input", { value, dataset: { key: "f" } }));
        draw("100");
    }""")
    field = place.locator("input")
    field.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("25")
    page.evaluate("() => draw('100')")
    expect(field).to_have_value("25")
    page.evaluate("() => draw('')")
    expect(field).to_have_value("")
    expect(field).to_be_focused()


def test_a_slow_click_on_pause_counts_and_a_change_of_state_is_said_once(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    page.evaluate("""() => {
        window.said = [];
        window.word = document.querySelector("#bar [role=status]");
        const all = { childList: true, characterData: true, subtree: true };
        new MutationObserver(() => said.push(word.textContent)).observe(word, all);
    }""")
    press(page, page.locator("#bar button", has_text="Pause"))
    draw_again(page)  # the bar changes each second
    page.mouse.up()
    expect(page.locator("#bar .state")).to_have_text("Paused")
    draw_again(page)
    page.locator("#bar button", has_text="Resume").click()
    expect(page.locator("#bar .state")).to_contain_text("Idle")
    said, is_connected = page.evaluate("() => [said, word.isConnected]")
    said_of_the_engine = ("Starting", "Loading")  # it may have to load first
    assert [word for word in said if word not in said_of_the_engine] == ["Paused", "Idle"]
    assert len(said) == len(set(said))
    assert is_connected
