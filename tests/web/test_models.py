"""Models: what the page shows is what the commands print; pulls and the change of base go through the node."""

from typing import Any

from playwright.sync_api import Page, Route, expect
from support.processes.nodes import Node
from web.parts import OpenPage

SETTINGS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_INFERENCE_BACKEND": "fake"}
BASE = {
    "name": "acme--tiny", "digest": "0x" + "1" * 64, "folder": "/models/acme--tiny", "source": "acme/tiny",
    "gguf": None, "size_bytes": 1_500_000_000, "context": 8192, "format": "safetensors", "license": "MIT",
    "is_served": False, "is_link": False, "problem": None,
}  # fmt: skip
PULLING = {
    "name": "acme/tiny", "state": "running", "what": "downloading", "done_bytes": 500 * 10**6,
    "total_bytes": 2 * 10**9, "bytes_per_s": 50 * 10**6, "left_s": 30, "why": None, "base": None,
}  # fmt: skip


def answer(page: Page, path: str, content: Any, *, now: dict[str, Any] | None = None) -> list[Any]:
    """Answer one route in the node's place, and return the bodies that come; each order makes `now` its answer."""
    bodies: list[Any] = []

    def fulfil(route: Route) -> None:
        if route.request.method == "POST":
            bodies.append(route.request.post_data_json)
            if now is not None:
                now.update(content)
        route.fulfill(json=content)

    page.route(f"**/operator{path}", fulfil)
    return bodies


def with_bases(page: Page, *changes: dict[str, Any]) -> None:
    served = {**BASE, "name": "old", "folder": "/models/old", "source": None, "is_served": True}
    models = [served, *({**BASE, **change} for change in changes)]
    answer(page, "/models", {"served": "old", "models": models, "found": [], "refused": {}})


def test_a_pull_shows_its_progress_and_can_be_cancelled(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    now: dict[str, Any] = {"pull": PULLING}
    answer(page, "/models/work", now)
    cancelled = answer(page, "/models/pull/cancel", {"pull": {**PULLING, "state": "cancelled"}}, now=now)
    page.evaluate("() => { location.hash = '#/models'; }")
    shown = page.locator(".panel", has_text="Pull a base")
    expect(shown).to_contain_text("500 MB of 2.0 GB, 25 %, 50.0 MB/s, 30 s left")
    expect(shown.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    shown.get_by_role("button", name="Cancel the download").click()
    expect(shown.get_by_role("button", name="Cancel the download")).to_have_count(0)
    assert cancelled == [{}]


def test_the_dialog_says_what_a_change_of_base_does_before_it_is_ordered(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    with_bases(page, {})
    ordered = answer(page, "/models/use", {"from": "old", "to": "acme--tiny"})
    page.evaluate("() => { location.hash = '#/models'; }")
    page.get_by_role("button", name="Serve acme--tiny").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("Adapters of the old base stay on the disk")
    expect(dialog).to_contain_text("node starts again by itself")
    expect(dialog.locator(".cli")).to_contain_text("openledger-node models use acme--tiny")
    dialog.get_by_role("button", name="Serve it").click()
    expect(page.locator(".panel", has_text="Running answers finish, and then the node starts again.")).to_be_visible()
    expect(page.get_by_role("button", name="Serve acme--tiny")).to_be_disabled()
    assert ordered == [{"base": "acme--tiny"}]


def test_the_dialog_says_what_a_removal_deletes(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    with_bases(page, {"gguf": "/models/acme--tiny-2/tiny.gguf"}, {"name": "link", "is_link": True})
    page.evaluate("() => { location.hash = '#/models'; }")
    page.get_by_role("button", name="Remove acme--tiny").click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("The file /models/acme--tiny-2/tiny.gguf stays where it is")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove link").click()
    expect(dialog).to_contain_text("Only the link is deleted. The folder that /models/acme--tiny leads to stays")
